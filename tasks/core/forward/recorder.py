"""Record what a module computes, operator by operator: values, module paths and source lines.

The mode is entered inside forward, so that it is above the one that casts to float64 and sees the same operators.
"""

import contextlib
import functools
import itertools
import sys
import weakref
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import nn
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from tasks.core.arrays import Array
from tasks.core.forward.hooks import hookable_modules
from tasks.core.forward.operator_mode import OperatorMode, is_mutable
from tasks.core.forward.other_kernels import intermediates
from tasks.core.forward.outputs import flatten
from tasks.core.forward.switches import operator_by_operator
from tasks.core.forward.traces import Addition, Call, Trace
from tasks.core.source_lines import callers, innermost, without_folder

Receive = Callable[[int, Call, Array], None]
"""Takes the number of a value, the call that computed it, and a copy of it."""
_MAX_KEPT = 65_536
"""Number of elements, evenly spaced, that are kept of a sum or branch."""
_UNINITIALISED = ("aten.empty", "aten.new_empty", "aten.empty_like", "aten.empty_strided")


class Recorder(OperatorMode):
    """Records each operator that a module calls while it is watched."""

    def __init__(self, model: nn.Module, *, receive: Receive | None = None, keep_additions: bool = False) -> None:
        """Call `receive` with a copy of each value that depends on an input, floats as float32; `keep_additions`."""
        super().__init__()
        self.trace = Trace()
        self._model = model
        self._receive = receive
        self._keep_additions = keep_additions
        self._parameters = {id(tensor) for tensor in (*model.parameters(), *model.buffers())}
        self._numbers: Any = WeakIdKeyDictionary()
        self._views: dict[int, list[weakref.ref[torch.Tensor]]] = {}
        self._running = [("", type(model).__name__, 0)]
        """Path, class and number of calls before its own, of each module on the call stack."""
        self._next_number = itertools.count()

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Within this context the model's forward is recorded, with its module calls."""
        recorded = functools.partial(self._run, self._model.forward)
        with (
            contextlib.ExitStack() as stack,
            patch.object(self._model, "forward", recorded),
            operator_by_operator(),
        ):
            for path, module in hookable_modules(self._model):
                enter = functools.partial(self._enter, path)
                stack.callback(module.register_forward_pre_hook(enter).remove)
                stack.callback(module.register_forward_hook(self._leave, always_call=True).remove)
            yield

    def _enter(self, path: str, module: nn.Module, _args: Any) -> None:
        self._running.append((path, type(module).__name__, len(self.trace.calls)))

    def _leave(self, *_: Any) -> None:
        if len(self._running) > 1:
            self._running.pop()

    def _run(self, forward: Any, /, *args: Any, **kwargs: Any) -> Any:
        for tensor in _tensors((args, kwargs)):
            self._pass_on(self._new(tensor), Call("input", "", "", "", ()), tensor)
        with self:
            output = forward(*args, **kwargs)
        self.trace.outputs = tuple(self._number_of(tensor) for _, tensor in flatten(output))
        return output

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: PLR0917
        kwargs = kwargs or {}
        tensors = _tensors((args, kwargs))
        inputs = [self._number_of(tensor) for tensor in tensors if id(tensor) not in self._parameters]
        branch = self._branch(func, tensors, inputs)
        before = [tensor.clone() for tensor in tensors] if is_mutable(func) and self._receive else tensors
        output = func(*args, **kwargs)  # not `call`: a loop is one operator, as it is one node of a file
        outputs = _tensors(output)
        if not outputs:
            return output
        path, module_class, _ = self._running[-1]
        options = tuple(leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, bool | int | float | str))
        call = Call(str(func), path, module_class, _source_line(), tuple(inputs), options)
        self._record(call, outputs, mutates=is_mutable(func))
        if self._receive is not None:
            self._record_intermediates(call, before, outputs[0])
        if branch is not None:
            self.trace.additions.append(Addition(call, self._some(outputs[0]), branch))
        return output

    def _record(self, call: Call, outputs: list[torch.Tensor], *, mutates: bool) -> None:
        trace = self.trace
        is_constant = all(number in trace.constants for number in call.inputs)
        index = len(trace.calls)
        trace.calls.append(call)
        viewers = self._viewers(outputs[0]) if mutates else []
        call.outputs = tuple(self._new(tensor) for tensor in outputs)
        if call.name.startswith(_UNINITIALISED):
            trace.constants.update(call.outputs)
            return
        for number, tensor in zip(call.outputs, outputs, strict=True):
            trace.producer[number] = index
            if is_constant:
                trace.constants.add(number)
            self._pass_on(number, call, tensor)
        for tensor in viewers:  # other views of the memory that was written
            inputs = (self._number_of(tensor), *call.outputs)
            other = Call(f"{call.name} seen", call.module_path, call.module_class, call.source, inputs)
            self._record(other, [tensor], mutates=False)

    def _record_intermediates(self, call: Call, tensors: list[torch.Tensor], output: torch.Tensor) -> None:
        for value in intermediates(call.name, tensors, output):
            number = next(self._next_number)
            call.intermediates += (number,)
            self.trace.producer[number] = self.trace.producer.get(call.outputs[0], 0)
            self._pass_on(number, call, value)

    def _branch(self, func: Any, tensors: list[torch.Tensor], inputs: list[int]) -> Array | None:
        """Some elements of the branch, if the operator is an addition that ends a residual block."""
        is_addition = str(func).startswith(("aten.add.Tensor", "aten.add_.Tensor")) and len(inputs) == 2
        if not is_addition or not self._keep_additions or inputs[0] == inputs[1]:
            return None
        if tensors[0].shape != tensors[1].shape or not tensors[0].is_floating_point():
            return None
        path, _, since = self._running[-1]
        index = self.trace.branch(inputs, module_path=path, since=since)
        return None if index is None else self._some(tensors[index])

    def _some(self, tensor: torch.Tensor) -> Array:
        with _disable_current_modes():
            flat = tensor.detach().reshape(-1)
        return _copy(flat[:: -(-flat.numel() // _MAX_KEPT) or 1])

    def _pass_on(self, number: int, call: Call, tensor: torch.Tensor) -> None:
        if self._receive is not None and number not in self.trace.constants:
            self._receive(number, call, _copy(tensor))

    def _number_of(self, tensor: torch.Tensor) -> int:
        """The number of a tensor; one that was not computed in this run is a constant."""
        number = self._numbers.get(tensor)
        if number is None:
            number = self._new(tensor)
            self.trace.constants.add(number)
        return int(number)

    def _new(self, tensor: torch.Tensor) -> int:
        number = self._numbers[tensor] = next(self._next_number)
        self._views.setdefault(tensor.untyped_storage()._cdata, []).append(weakref.ref(tensor))
        return number

    def _viewers(self, written: torch.Tensor) -> list[torch.Tensor]:
        """Other tensors, still referenced, that share the storage of one that was written."""
        storage = written.untyped_storage()._cdata
        views = (ref() for ref in self._views.get(storage, ()))
        found = {id(tensor): tensor for tensor in views if tensor is not None and tensor is not written}
        return [tensor for tensor in found.values() if tensor.untyped_storage()._cdata == storage]


def _tensors(structure: Any) -> list[torch.Tensor]:
    return [value for value in tree_leaves(structure) if isinstance(value, torch.Tensor)]


def _copy(tensor: torch.Tensor) -> Array:
    with _disable_current_modes():
        tensor = tensor.detach().cpu()
        tensor = tensor.dequantize() if tensor.is_quantized else tensor.to_dense() if tensor.is_sparse else tensor
        return np.array((tensor.float() if tensor.is_floating_point() else tensor).numpy())


def _source_line() -> str:
    """The line of the model's code that called the operator, none outside the call of forward."""
    return without_folder(innermost(itertools.takewhile(lambda line: line[0] != __file__, callers(sys._getframe(2)))))
