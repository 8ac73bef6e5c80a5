"""The state of a module as it was loaded: which of it a run changes, and how to have it back."""

import contextlib
import sys
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_leaves
from typing_extensions import override

from tasks.core.forward.operator_mode import OperatorMode

_CONTAINERS = (dict, OrderedDict, list, set)
"""An OrderedDict holds a module's hooks, which some libraries set in the first run."""
_MAX_DEPTH = 3
"""How deep dicts, lists and objects are looked into: a cache has layers, which have tensors."""
_MAX_ITEMS = 1000
"""Of a dict or list that is looked into; a larger one holds data rather than state."""
_NO_STATE = sys.stdlib_module_names | {"numpy", "torch"}
"""Packages whose objects are not looked into."""
_OWN = frozenset(vars(nn.Module()))
"""Attributes that PyTorch itself keeps on every module, tensors by name among them."""


class LoadedAttributes:
    """Attributes of a module, hooks and caches in lists and dicts included; not what is in its tensors."""

    def __init__(self, network: nn.Module) -> None:
        """Note what there is; only dicts, lists and sets are copied."""
        self._network = network
        self._attributes = [(module, {**vars(module)}) for module in network.modules()]
        self._paths = {module: path for path, module in network.named_modules()}
        self._inside = {
            id(value): (self._named(module, name), value, value.copy())
            for module, state in reversed(self._attributes)
            for name, kept in state.items()
            for value in _containers(kept, depth=1 if name in _OWN else _MAX_DEPTH)
        }
        """What attributes hold inside, by identity: name of the attribute, the container, and what was in it."""

    def restore(self) -> None:
        """Give the module its attributes back."""
        for module, state in self._attributes:
            vars(module).clear()
            vars(module).update(state)
        for _, value, items in self._inside.values():
            value.clear()
            (value.extend if isinstance(value, list) else value.update)(items)

    def _named(self, module: nn.Module, attribute: str) -> str:
        """Path of an attribute."""
        return f"{self._paths[module]}.{attribute}" if self._paths.get(module) else attribute


class LoadedState(LoadedAttributes):
    """Tensors and attributes of a module; a tensor is copied only when a watched run is about to write into it."""

    def __init__(self, network: nn.Module) -> None:
        """Note what there is; no tensor is copied yet."""
        super().__init__(network)
        self._names = dict(_named_tensors(network))
        self._data = {name: tensor.data for name, tensor in self._names.items()}
        """What each holds, also where `.data` is set to something else."""
        self._copies: dict[str, torch.Tensor] = {}
        self._names_in: dict[int, list[str]] = {}
        """By storage."""
        for name, data in self._data.items():
            self._names_in.setdefault(data.untyped_storage()._cdata, []).append(name)

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Within this context a tensor is copied before an operator writes into it."""
        with _Writes(self._keep):
            yield

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Within this context the module may change its state; afterwards it has what was loaded."""
        try:
            with self.watched():
                yield
        finally:
            self.restore()

    def changed(self) -> list[str]:
        """Names of the tensors and attributes that are no longer as they were."""
        tensors = dict(_named_tensors(self._network))
        found = [
            name for name, data in self._data.items() if not _same(self._copies.get(name, data), tensors.get(name))
        ]
        for module, before in self._attributes:
            now = vars(module)
            for name in dict.fromkeys((*before, *now)):
                if (name in before) != (name in now) or not _same(before[name], now[name]):
                    found.append(self._named(module, name))
        found += (name for name, value, items in self._inside.values() if not _same(items, value))
        return [name for name in dict.fromkeys(found) if name.rpartition(".")[2] not in _OWN]

    def are_parameters(self, names: list[str]) -> bool:
        """Is one of these a parameter, which only training should change?"""
        return any(isinstance(self._names.get(name), nn.Parameter) for name in names)

    @override
    def restore(self) -> None:
        """Give the module its attributes back, and its tensors their values."""
        super().restore()
        for name, tensor in self._names.items():
            tensor.data = self._data[name]
            if name in self._copies:
                self._data[name].copy_(self._copies[name])

    def restore_weights(self) -> None:
        """Give the tensors of the state_dict the values back that were loaded, and leave all else as it is now.

        One that has another shape now is no weight but a cache that has grown.
        """
        for name, tensor in self._network.state_dict(keep_vars=True).items():
            loaded = self._copies.get(name, self._data.get(name))
            if isinstance(tensor, torch.Tensor) and loaded is not None and loaded.shape == tensor.shape:
                tensor.data.copy_(loaded)

    def _keep(self, storage: int) -> None:
        """Copy the tensors that lie in a storage, unless they were copied before."""
        for name in self._names_in.get(storage, ()):
            if name not in self._copies:
                self._copies[name] = self._data[name].clone()


class _Writes(OperatorMode):
    """Tells of each storage before an operator writes into it."""

    def __init__(self, tell: Any) -> None:
        super().__init__()
        self._tell = tell

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: PLR0917
        schema = getattr(func, "_schema", None)
        if schema is not None and schema.is_mutable:
            given = {argument.name: value for argument, value in zip(schema.arguments, args, strict=False)}
            given |= kwargs or {}
            written = [a.name for a in schema.arguments if a.alias_info is not None and a.alias_info.is_write]
            with _disable_current_modes():
                for value in tree_leaves([given.get(name) for name in written]):
                    if isinstance(value, torch.Tensor):
                        self._tell(value.untyped_storage()._cdata)
        return self.call(func, args, kwargs)


def _named_tensors(network: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Parameters, buffers and tensors in plain attributes, by name; those that have no storage yet are left out."""
    for path, module in network.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            own = {**dict(module.named_parameters(recurse=False)), **dict(module.named_buffers(recurse=False))}
        else:
            own = {**vars(module), **module._parameters, **module._buffers}
        for name, value in own.items():
            if isinstance(value, torch.Tensor) and not nn.parameter.is_lazy(value) and not value.is_sparse:
                yield f"{path}.{name}" if path else name, value


def _containers(value: Any, *, depth: int) -> Iterator[Any]:
    """Dicts, lists and sets that a value is or holds, attributes of plain objects among them."""
    if not isinstance(value, nn.Module | torch.Tensor | type) and not _is_known(value):
        value = getattr(value, "__dict__", None)
    if type(value) in _CONTAINERS:
        yield value
        items = value.values() if isinstance(value, dict) else value
        for item in items if depth > 1 and len(value) <= _MAX_ITEMS else ():
            yield from _containers(item, depth=depth - 1)


def _is_known(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] in _NO_STATE


def _same(before: Any, now: Any) -> bool:
    """Are two values of an attribute equal?"""
    if before is now:
        return True
    if isinstance(before, torch.Tensor) and isinstance(now, torch.Tensor):
        if before.shape != now.shape or before.dtype != now.dtype:
            return False
        a, b = (tensor.detach().reshape(-1).contiguous().view(torch.uint8) for tensor in (before, now))
        return before.data_ptr() == now.data_ptr() or bool(torch.equal(a, b))  # byte by byte: NaN equals itself
    if type(before) is not type(now):
        return False
    if isinstance(before, list | tuple):
        return len(before) == len(now) and all(map(_same, before, now))
    if isinstance(before, dict):
        return list(before) == list(now) and all(map(_same, before.values(), now.values()))
    return isinstance(before, int | float | str | set) and bool(before == now)
