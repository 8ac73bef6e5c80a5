"""Python values that `torch.jit.trace` makes constants, and which of them depend on the values of an input.

A Python value that depends on shapes only is proven at other sizes. One that depends on values may have chosen a
branch, and no probe shows that another is never taken. The data flow in the trace's graph tells the two apart.
"""

import contextlib
import functools
import linecache
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from types import FrameType
from typing import Any, Self
from unittest.mock import patch

import torch
from torch import nn

from tasks.core.forward.outputs import flat_forward
from tasks.core.forward.switches import same_way, uncompiled
from tasks.core.source_lines import SourceLine, callers, innermost, innermost_own, without_folder

_KNOWN = tuple(f"{folder}/" for folder in getattr(find_spec("torchvision"), "submodule_search_locations", ()))
"""torchvision's code is exempt: it branches on whether there are boxes at all, with the same result either way."""
_RECURRENT = nn.modules.rnn.__file__
"""PyTorch's recurrent layers only ask a packed sequence how many rows it has, to check their state."""
_TO_PYTHON = [
    *((torch.Tensor, name) for name in (
        "__bool__", "__complex__", "__float__", "__index__", "__int__", "__len__", "allclose", "equal", "is_nonzero",
        "item", "numpy", "tolist",
    )),
    *((torch, name) for name in ("allclose", "equal", "is_nonzero")),
]  # fmt: skip
"""Functions that convert a tensor to a Python value."""
_TO_PARTS = [
    (torch.Tensor, "__iter__"),
    *((owner, name) for owner in (torch.Tensor, torch) for name in ("chunk", "split", "tensor_split", "unbind")),
]
"""Functions that give a tensor's parts, of which Python code sees how many there are."""
_SIZES = {
    "aten::dim", "aten::len", "aten::numel", "aten::size", "aten::_shape_as_tensor",
    "aten::empty_like", "aten::new_empty", "aten::new_ones", "aten::new_zeros", "aten::ones_like", "aten::rand_like",
    "aten::randn_like", "aten::zeros_like",
}  # fmt: skip
"""Operators whose result depends on shapes only."""
_SIZED_BY_VALUES = {
    "aten::argwhere", "aten::bincount", "aten::masked_select", "aten::nonzero", "aten::nonzero_numpy",
    "aten::repeat_interleave", "aten::unique_consecutive", "aten::unique_dim", "aten::_unique", "aten::_unique2",
    "torchvision::nms",
}  # fmt: skip
"""Operators whose output's shape depends on values."""
_VIEWS = {
    "aten::alias", "aten::chunk", "aten::detach", "aten::diagonal", "aten::expand", "aten::narrow", "aten::permute",
    "aten::reshape", "aten::select", "aten::slice", "aten::split", "aten::squeeze", "aten::t", "aten::transpose",
    "aten::unbind", "aten::unfold", "aten::unsqueeze", "aten::view", "prim::ListUnpack",
}  # fmt: skip
"""Operators whose output may be written in place of their input."""


class FrozenValues:
    """Note the lines at which code run by `torch.jit`'s tracer converts tensors to Python values."""

    def __init__(self, num_inputs: int) -> None:
        """Take the number of tensors given to the module; the graph's further inputs are its parameters."""
        self.lines: dict[str, bool] = {}
        """`file.py:LINE` -> does a value converted there depend on the values of an input?"""
        self._num_inputs = num_inputs
        self._sized_by_shapes: set[tuple[int, bool]] = set()
        """Values of the graph, by number, whose sizes depend on the inputs' shapes only."""

    @contextlib.contextmanager
    def watched(self) -> Iterator[Self]:
        """Within this context each conversion to a Python value is noted before it runs.

        A TorchFunctionMode would see them, too, but PyTorch's exporter crashes under one (MViT-v2). `.data` is
        followed, which the tracer takes for a constant.
        """
        data: Any = torch.Tensor.data
        with contextlib.ExitStack() as stack:
            for owner, name in (*_TO_PYTHON, *_TO_PARTS):
                stack.enter_context(patch.object(owner, name, self._noting(getattr(owner, name))))
            stack.enter_context(patch.object(torch.Tensor, "data", property(torch.Tensor.detach, data.__set__)))
            yield self

    def _noting(self, function: Callable[..., Any]) -> Callable[..., Any]:
        gives_parts = function.__name__ in {name for _, name in _TO_PARTS}
        by_size = gives_parts or function.__name__ == "__len__"

        @functools.wraps(function)
        def noted(*args: Any, **kwargs: Any) -> Any:
            if torch._C._is_tracing() and not (gives_parts and _are_counted(function.__name__, args, kwargs)):
                tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor)]
                self._note(tensors, by_size=by_size, only_decided=gives_parts)
            return function(*args, **kwargs)

        return noted

    def _note(self, tensors: list[torch.Tensor], *, by_size: bool, only_decided: bool) -> None:
        frame = sys._getframe(2)
        lines = _lines_of_code(frame)
        file, line = innermost(lines) or (frame.f_code.co_filename, frame.f_lineno)
        is_known = file.startswith(_KNOWN) or lines[0][0] == _RECURRENT or _is_check(file, line)
        decided = not is_known and any(self._is_decided(tensor, by_size=by_size) for tensor in tensors)
        noted = without_folder(innermost_own(lines) or (file, line))
        if decided or not only_decided:
            self.lines[noted] = self.lines.get(noted, False) or decided

    def _is_decided(self, tensor: torch.Tensor, *, by_size: bool) -> bool:
        """Does the tensor, or its size, depend on the values of an input?"""
        graph = torch._C._get_tracing_state().graph()
        given = [value for value in graph.inputs() if value.type().kind() != "ClassType"]  # the module itself
        inputs = {value.unique() for value in given[: self._num_inputs]}
        try:
            waiting = [(torch._C._get_value_trace(tensor), by_size)]  # type: ignore[attr-defined]
        except RuntimeError:  # not of this trace
            return False
        seen = set()
        while waiting:
            value, only_size = waiting.pop()
            key = value.unique(), only_size
            if key in seen or key in self._sized_by_shapes:
                continue
            seen.add(key)
            if value.unique() in inputs:
                if not only_size:
                    return True
                continue
            waiting += _sources(value, only_size)
            if not only_size:
                waiting += ((other, False) for node in _writers(value) for other in node.inputs())
        self._sized_by_shapes |= {key for key in seen if key[1]}
        return False


class TakenSides:
    """Notes to what each line converts tensors while a module runs, in as many runs as there are probes."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, int], set[bool | str]] = {}
        """By line and how often it came before in the same run: truth values; other Python values as text."""
        self._parts: dict[tuple[str, int], set[tuple[int, torch.Size]]] = {}
        """The same of parts: how many, and the shape of the whole."""

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Within this context, which is one run, conversions are noted."""
        counts: Counter[str] = Counter()

        def noting(function: Callable[..., Any], *, gives_parts: bool) -> Callable[..., Any]:
            @functools.wraps(function)
            def noted(*args: Any, **kwargs: Any) -> Any:
                value = function(*args, **kwargs)
                name = without_folder(innermost_own(_lines_of_code(sys._getframe(1))))
                key = name, counts[name]
                counts[name] += 1
                if gives_parts:
                    value = [*value]
                    whole = next(given for given in (*args, *kwargs.values()) if isinstance(given, torch.Tensor))
                    self._parts.setdefault(key, set()).add((len(value), whole.shape))
                    return iter(value) if function.__name__ == "__iter__" else tuple(value)
                self._seen.setdefault(key, set()).add(value if isinstance(value, bool) else str(value))
                return value

            return noted

        with contextlib.ExitStack() as stack:
            for gives_parts, functions in ((False, _TO_PYTHON), (True, _TO_PARTS)):
                for owner, name in functions:
                    noted = noting(getattr(owner, name), gives_parts=gives_parts)
                    stack.enter_context(patch.object(owner, name, noted))
            yield

    @property
    def lines(self) -> set[str]:
        """Lines at which something was converted, as `file.py:LINE`."""
        return {line for line, _ in self._seen}

    def are_taken(self, line: str, *, kept: bool) -> bool:
        """Was each truth value at a line true in one run and false in another, and every other value not the same?

        The number of parts may be the same if the whole had several shapes: then no value decides it.

        Args:
            line: as `file.py:LINE`.
            kept: the file has control flow of its own; else other values may have been compared out of its sight.
        """
        found = [values for (noted, _), values in self._seen.items() if noted == line]
        parts = [seen for (noted, _), seen in self._parts.items() if noted == line]
        are_told = all(len(seen) > 1 and (kept or len({number for number, _ in seen}) == 1) for seen in parts)
        are_taken = all(len(values) > 1 and (kept or values == {True, False}) for values in found)
        return bool(found or parts) and are_told and are_taken


def frozen_lines(model: nn.Module, tensors: Sequence[torch.Tensor], arguments: Any) -> dict[str, bool]:
    """Lines at which a trace freezes a Python value, as `file.py:LINE`: does it depend on the values of an input?

    Args:
        model: is traced, as an exporter does it; where that fails, up to there.
        tensors: one an input.
        arguments: makes args and kwargs of forward from them.
    """
    frozen = FrozenValues(len(tensors))
    trace: Any = torch.jit._get_trace_graph  # type: ignore[attr-defined]
    with (
        contextlib.suppress(Exception),  # whatever the tracer does not take
        warnings.catch_warnings(action="ignore"),
        same_way(),
        uncompiled(),
        torch.no_grad(),
        flat_forward(model, arguments),
        frozen.watched(),
    ):
        trace(model, tuple(tensors), strict=False, _force_outplace=False)
    return frozen.lines


def _lines_of_code(frame: FrameType) -> list[SourceLine]:
    """Lines of a frame and of its callers, but those of this file, as a function that is watched may call another."""
    return [line for line in callers(frame) if line[0] != __file__]


def _is_check(file: str, line: int) -> bool:
    """Is a line an assertion, or an `if` that does nothing but raise? Neither has another side to be wrong on."""
    text, after = (linecache.getline(file, number).strip() for number in (line, line + 1))
    if text.startswith(("assert ", "assert(", "torch._assert(", "_assert(")):
        return True
    return text.startswith("if ") and (": raise " in text or (text.endswith(":") and after.startswith("raise ")))


def _are_counted(name: str, args: Sequence[Any], kwargs: dict[str, Any]) -> bool:
    """Do arguments say how many parts a function gives, or take another axis than the first?

    The size of another axis hardly ever depends on values.
    """
    place = 1 if name == "unbind" else 2
    is_first = kwargs.get("dim", args[place] if len(args) > place else 0) == 0
    return not is_first or any(isinstance(value, list | tuple) for value in (*args, *kwargs.values()))


def _sources(value: Any, only_size: bool) -> Iterator[tuple[Any, bool]]:
    """The operands of the node that produced a value, each with whether only its size matters."""
    node = value.node()
    kind = node.kind()
    for block in node.blocks():
        yield from ((inner, only_size) for inner in block.outputs())
    operands = list(node.inputs())
    tells_how_often = operands[1] if kind == "aten::repeat_interleave" and len(operands) > 2 else None
    is_sized_by_values = (
        (kind in _SIZED_BY_VALUES and tells_how_often is None) or bool(list(node.blocks())) or _has_mask(node)
    )
    sees_sizes = kind in _SIZES or (only_size and not is_sized_by_values)
    # an operand that is no tensor may be a size of the result
    yield from ((other, sees_sizes and _is_tensors(other) and other is not tells_how_often) for other in operands)


def _writers(value: Any) -> Iterator[Any]:
    """Nodes that write into a value's memory in place, or into a view of it."""
    waiting = [value]
    while waiting:
        for use in waiting.pop().uses():
            if use.offset == 0 and use.user.kind().endswith("_"):
                yield use.user
            elif use.offset == 0 and use.user.kind() in _VIEWS:
                waiting += use.user.outputs()


def _has_mask(node: Any) -> bool:
    """Is the node an indexing by a bool mask, whose number of results depends on values?"""
    if node.kind() != "aten::index":
        return False
    indices = [value for listed in list(node.inputs())[1:] for value in listed.node().inputs()]
    return any(value.type().kind() == "TensorType" and value.type().scalarType() == "Bool" for value in indices)


def _is_tensors(value: Any) -> bool:
    kind = value.type()
    kind = kind.getElementType() if kind.kind() == "ListType" else kind
    return kind.kind() in ("TensorType", "TupleType", "OptionalType")
