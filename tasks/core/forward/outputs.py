"""What forward returns: named tensors in the order of the structure, and thresholds that decide how many items."""

import dataclasses
import functools
import itertools
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from tasks.core.errors import ModelError, SpecError
from tasks.core.forward.operator_mode import OperatorMode

_COMPARISONS = ("aten.gt.Scalar", "aten.ge.Scalar", "aten.lt.Scalar", "aten.le.Scalar")
_DECISIONS = (
    *("argmax", "argmin", "topk", "sort", "kthvalue", "bucketize"),
    *("gt", "ge", "lt", "le", "round", "floor", "ceil", "trunc", "sign"),
)
"""Operators whose results stay the same while their operands move a little."""
_HOOKS = ("_forward_pre_hooks", "_forward_hooks")
"""What a module calls before and after its forward."""


def flatten(output: Any) -> list[tuple[str, torch.Tensor]]:
    """Flatten a tensor, dict, tuple, list, named tuple or dataclass, nested to any depth, into names and tensors.

    A dict's keys and a dataclass's fields name their values, items of a tuple are numbered; a lone
    tensor is `output`. None is left out.

    Raises:
        ModelError: there is something that ONNX can't hold, or no tensor at all.
    """
    named = list(_walk(output, ""))
    if not named:
        raise ModelError(f"forward returned no tensor but {type(output).__name__}; ONNX needs at least one.")
    return _unique(named)


def name_outputs(found: tuple[str, ...], names: tuple[str, ...]) -> tuple[str, ...]:
    """The names of the outputs: those asked for, of which there must be as many, else those found in the structure.

    Args:
        found: names from `flatten`.
        names: those asked for, in the same order; empty: none were.
    """
    if names and len(names) != len(found):
        raise SpecError(
            f"forward returns {len(found)} tensors ({', '.join(found)}) but {len(names)} names were given; name "
            f"each, or choose some by these names."
        )
    if moved := [name for name, own in zip(names, found, strict=False) if name != own and name in found]:
        raise SpecError(
            f"--output {moved[0]} would name another tensor than forward's own {moved[0]}; forward returns "
            f"{', '.join(found)}: choose some by these names, or give new ones."
        )
    return names or found


@contextmanager
def flat_forward(model: nn.Module, arguments: Callable[..., tuple[Any, Any]] | None = None) -> Iterator[None]:
    """Within this context the module gives a tuple in the order of `flatten`, of what a call of it would give.

    Exporters label outputs by position and order dicts in ways of their own, which swaps names.

    Args:
        model: gets another forward within the context.
        arguments: builds args and kwargs of forward from a list of tensors, which forward then takes one by one.
    """
    if isinstance(model, torch.jit.ScriptModule):
        yield
        return
    forward: Callable[..., Any] = model.forward
    call = _as_called_now(model) if _is_more_than_forward(model) else forward

    def flat(*args: Any, **kwargs: Any) -> Any:
        if arguments is not None:
            args, kwargs = arguments(args)
        output = call(*args, **kwargs)
        return output if isinstance(output, torch.Tensor) else tuple(tensor for _, tensor in flatten(output))

    if arguments is None:
        flat = functools.wraps(forward)(flat)
    plain = {} if call is forward else _plain_call(model)
    with _set(model, {**plain, "forward": flat}):
        yield


def _is_more_than_forward(model: nn.Module) -> bool:
    """Does a call of the module do more than its forward?"""
    return type(model).__call__ is not nn.Module.__call__ or any(getattr(model, name) for name in _HOOKS)


def _plain_call(model: nn.Module) -> dict[str, Any]:
    """Attributes with which a call of the module is its forward: no hooks, no `__call__` of its own."""
    cls = type(model)
    plain = type(cls.__name__, (cls,), {"__module__": cls.__module__, "__call__": nn.Module.__call__})
    return {**{name: OrderedDict() for name in _HOOKS}, "__class__": plain}


def _as_called_now(model: nn.Module) -> Callable[..., Any]:
    """Call the module, whatever is set on it later, as now: through its class's `__call__`, hooks and forward."""
    now = {name: getattr(model, name) for name in (*_HOOKS, "__class__", "forward")}

    def call(*args: Any, **kwargs: Any) -> Any:
        with _set(model, now):
            return model(*args, **kwargs)

    return call


@contextmanager
def _set(model: nn.Module, attributes: Mapping[str, Any]) -> Iterator[None]:
    """Within this context the module has these attributes."""
    before = {"__class__": type(model), **{name: vars(model)[name] for name in attributes if name in vars(model)}}
    for name, value in attributes.items():
        setattr(model, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(model, name, value)
        for name in attributes.keys() - before.keys():
            delattr(model, name)


def _unique(named: list[tuple[str, torch.Tensor]]) -> list[tuple[str, torch.Tensor]]:
    """Number names that occur twice, such as those of the keys `a.b` and `a_b`."""
    unique: dict[str, torch.Tensor] = {}
    for name, tensor in named:
        names = itertools.chain((name,), (f"{name}_{number}" for number in itertools.count(2)))
        unique[next(free for free in names if free not in unique)] = tensor
    return list(unique.items())


def _walk(value: Any, name: str) -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(value, torch.Tensor):
        yield name or "output", value
    elif value is None:
        return
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _walk(item, _joined(name, str(key)))
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from _walk(getattr(value, field.name), _joined(name, field.name))
    elif isinstance(value, tuple | list):
        fields = getattr(value, "_fields", None)
        if fields is None and len(value) == 1:
            yield from _walk(value[0], name)
            return
        for index, item in enumerate(value):
            yield from _walk(item, _joined(name, fields[index]) if fields else f"{name or 'output'}_{index}")
    else:
        raise ModelError(
            f"forward returned {type(value).__name__} in {name or 'its output'}, which ONNX can't hold; return tensors."
        )


def _joined(name: str, key: str) -> str:
    key = re.sub(r"\W+", "_", key)
    return f"{name}_{key}" if name else key


class Thresholds(OperatorMode):
    """A mode that notes thresholds, and whether an operator had an output whose shape depends on values."""

    def __init__(self) -> None:
        super().__init__()
        self.scores: set[float] = set()
        """Numbers that floating-point tensors were compared with."""
        self.overlaps: set[float] = set()
        """Limits of intersection over union in non-maximum suppression."""
        self.decides = False
        """Did an operator choose, compare or round floating-point numbers, which hides how far these are off?"""
        self.sizes_by_data = False
        """Did the shape of some operator's output depend on values?"""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: PLR0917
        kwargs = kwargs or {}
        name = str(func)
        if name in _COMPARISONS and args[0].is_floating_point():
            self.scores.add(float(args[1]))
        if name.removeprefix("aten.").partition(".")[0] in _DECISIONS:
            self.decides |= args[0].is_floating_point()
        if "nms" in name:
            self.overlaps.update(v for v in tree_leaves((args, kwargs)) if isinstance(v, float))
        self.sizes_by_data |= "nms" in name or _is_sized_by_data(func, args)
        return self.call(func, args, kwargs)


def _is_sized_by_data(func: Any, args: Any) -> bool:
    if torch.Tag.dynamic_output_shape not in getattr(func, "tags", ()):
        return False
    if not str(func).startswith("aten.index."):
        return True
    masks = (torch.bool, torch.uint8)  # numbers as indices give a shape of their own
    return any(isinstance(index, torch.Tensor) and index.dtype in masks for index in args[1])
