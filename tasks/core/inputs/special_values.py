"""Values that a module treats in a way of their own, as one run of it tells: padding ids, limits, NaN, tables' ends."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tasks.core.arrays import Array
from tasks.core.inputs.element_origins import PICKS, Call, Origins

_COMPARES = {"eq": True, "ne": True, "lt": False, "le": False, "gt": False, "ge": False, "threshold": False}
"""Comparisons, and whether they ask for equality."""
_BOUNDS = {
    "clamp": ("min", "max"), "clamp_min": ("min",), "clamp_max": ("max",), "hardtanh": ("min_val", "max_val"),
    "maximum": ("other",), "minimum": ("other",),
}  # fmt: skip
"""Operators that limit values, and the names of their limits."""
_TESTS = {
    "isnan": (math.nan,), "nansum": (math.nan,), "nanmedian": (math.nan,), "nan_to_num": (math.nan,),
    "isinf": (math.inf, -math.inf), "isposinf": (math.inf,), "isneginf": (-math.inf,),
}  # fmt: skip
"""Values that operators without a limit of their own ask for."""
_TABLES = {"embedding", "_embedding_bag", "_embedding_bag_forward_only", "scatter", *PICKS}
"""Operators that look up rows of a table by integers."""
_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
MAX_VALUES = 8
"""Of a comparison with more numbers than these the least and the largest are special."""
_MAX_CONSTANT = 2**16
"""Elements of a tensor that others are compared with, beyond which it is not looked at."""


@dataclass(frozen=True)
class Special:
    """Values of one input, one an element, that the module treats in a way of their own."""

    input: int
    """Index of the input."""
    values: Array
    """float64, in the shape that the input was traced with; NaN and infinite ones are meant so."""
    at: Array
    """bool, the same shape: elements that have such a value."""


@dataclass(frozen=True)
class Table:
    """Rows that elements of one input look up."""

    input: int
    """Index of the input."""
    num_rows: int
    first: Array
    """float64, in the shape that the input was traced with: the value that looks up row 0."""
    at: Array
    """bool, the same shape: elements that look up a row."""
    address: int = 0
    """Of the first element of the table in memory."""


class SpecialValues(TorchDispatchMode):
    """A mode that notes what a module's inputs are compared with, limited to, or looked up by."""

    supports_higher_order_operators = True

    def __init__(self, tensors: Sequence[torch.Tensor]) -> None:
        """Take the tensors, one an input, that the module is about to be called with."""
        super().__init__()  # type: ignore[no-untyped-call]  # torch's own
        self._shapes = [tuple(tensor.shape) for tensor in tensors]
        self._of_integers = [index for index, tensor in enumerate(tensors) if tensor.dtype in _INTEGERS]
        self._origins = Origins(tensors)
        self._found: dict[tuple[Any, ...], tuple[Array, Array]] = {}
        """By value or table, and input: what was noted of its elements, and of which."""

    @property
    def specials(self) -> tuple[Special, ...]:
        """What was found, in the order in which it was met."""
        shapes = self._shapes
        return tuple(
            Special(index, values.reshape(shapes[index]), at.reshape(shapes[index]))
            for (kind, index, *_), (values, at) in self._found.items()
            if kind == "value"
        )

    @property
    def tables(self) -> tuple[Table, ...]:
        """Tables whose rows are looked up by elements of an input."""
        shapes = self._shapes
        return tuple(
            Table(index, int(numbers[0]), values.reshape(shapes[index]), at.reshape(shapes[index]), int(numbers[1]))
            for (kind, index, *numbers), (values, at) in self._found.items()
            if kind == "table"
        )

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: PLR0917
        call = Call(func, args, kwargs or {})
        if not any(tensor in self._origins for tensor in call.tensors):
            return func(*args, **call.kwargs)
        self._note(call)
        return self._origins.followed(call)

    def _note(self, call: Call) -> None:
        """Note what an operator asks of its operands."""
        first = call.args[0] if call.args else None
        if call.name in _COMPARES or call.name in _BOUNDS:
            for name in _BOUNDS.get(call.name, ("other", "threshold")):
                self._compare(first, call.given.get(name), is_equality=_COMPARES.get(call.name, False))
        elif call.name in _TESTS:
            # by default NaN becomes zero, but infinity the largest number of the dtype, which is another in float64
            given = {math.inf: "posinf", -math.inf: "neginf"} if call.name == "nan_to_num" else {}
            also = [value for value, name in given.items() if call.given.get(name) is not None]
            for value in (*_TESTS[call.name], *also):
                self._meet(first, value)
        elif call.given.get("dtype") == torch.bool or call.name in ("logical_not", "nonzero"):
            self._compare(first, 0, is_equality=True)
        elif call.name == "isin":
            self._compare(call.given.get("elements"), call.given.get("test_elements"), is_equality=True)
        elif call.name == "bucketize":
            self._compare(first, call.given.get("boundaries"), is_equality=False)
        elif call.name in _TABLES:
            self._look_up(call)

    def _compare(self, left: Any, right: Any, *, is_equality: bool) -> None:
        """Note the values at which a comparison of an input with constants is decided."""
        if left is right:  # as `isfinite` does it
            self._meet(left, math.nan)
            return
        for tensor, other in ((left, right), (right, left)):
            if not isinstance(tensor, torch.Tensor) or tensor not in self._origins:
                continue
            if isinstance(other, bool | int | float):
                self._decide(tensor, float(other), is_equality=is_equality)
            elif isinstance(other, torch.Tensor) and other not in self._origins and other.numel() <= _MAX_CONSTANT:
                for value, among in _constants(tensor, other):
                    self._decide(tensor, value, is_equality=is_equality, among=among)

    def _decide(
        self, tensor: torch.Tensor, value: float, *, is_equality: bool, among: torch.Tensor | None = None
    ) -> None:
        """Note a number that a tensor is compared with: itself, and numbers on both sides of it."""
        self._meet(tensor, value, among=among)
        if not is_equality and math.isfinite(value):
            step = 0.5 * max(abs(value), 1.0) if tensor.is_floating_point() else 1.0
            self._meet(tensor, value - step, among=among, is_exact=False)
            self._meet(tensor, value + step, among=among, is_exact=False)

    def _meet(self, tensor: Any, value: float, *, among: torch.Tensor | None = None, is_exact: bool = True) -> None:
        """Note the values of the inputs' elements at which a tensor that follows from them has a certain value.

        An exact one only where float32 and float64 agree that it is met: what is nearly equal is luck.
        """
        origin = self._origins.of(tensor)
        if origin is None:
            if isinstance(tensor, torch.Tensor) and tensor in self._origins and tensor.dtype in _INTEGERS:
                for index in self._of_integers:  # whatever was computed of them, their own numbers are likely meant
                    elements = torch.arange(self._origins.starts[index], self._origins.starts[index + 1])
                    self._keep(("value", value), elements, torch.full(elements.shape, value))
            return
        if origin.is_reduced:
            if value == 0.0:
                self._keep(("value", value), origin.elements, torch.zeros(origin.elements.shape))
            return
        at = origin.elements >= 0 if among is None else (origin.elements >= 0) & among
        elements, slope = origin.elements[at], origin.slope[at]
        own, now = self._origins.values[elements], tensor.detach().double()[at]
        if math.isfinite(value):
            wanted = own + (value - now) / slope
            if is_exact and tensor.is_floating_point():
                is_met = (slope == 1) & (now == own)
                wanted[~is_met | (float(torch.tensor(value, dtype=tensor.dtype)) != value)] = torch.nan
            is_known = wanted.isfinite()
        else:
            wanted, is_known = slope.sign() * value, slope.isfinite() | math.isnan(value)
        self._keep(("value", value), elements[is_known], wanted[is_known])

    def _look_up(self, call: Call) -> None:
        """Note the tables that integers look rows up in, their first and last row, and the one of the padding."""
        table, places = call.args[0], call.given.get("indices", call.given.get("index"))
        for axis, index in enumerate(places) if isinstance(places, list) else [(call.given.get("dim", 0), places)]:
            if not isinstance(index, torch.Tensor) or index not in self._origins or index.dtype not in _INTEGERS:
                continue
            num_rows = table.numel() if call.name == "take" or not table.dim() else table.shape[axis]
            for row in {call.given.get("padding_idx", -1): 0, 0: 0, num_rows - 1: 0}:
                if isinstance(row, int) and row >= 0:
                    self._meet(index, row)
            origin = self._origins.of(index)
            if origin is not None and not origin.is_reduced:
                at = (origin.elements >= 0) & (origin.slope == 1)
                first = self._origins.values[origin.elements[at]] - index.double()[at]
                self._keep(("table", num_rows, table.data_ptr()), origin.elements[at], first)

    def _keep(self, kind: tuple[Any, ...], elements: torch.Tensor, values: torch.Tensor) -> None:
        """Keep values of elements, input by input."""
        numbers, wanted, starts = elements.flatten().numpy(), values.double().flatten().numpy(), self._origins.starts
        for index, (start, end) in enumerate(itertools.pairwise(starts)):
            inside = (numbers >= start) & (numbers < end)
            if inside.any():
                key = (kind[0], index, *map(str, kind[1:]))  # NaN is unequal to itself
                kept = self._found.setdefault(key, (np.zeros(end - start), np.zeros(end - start, dtype=bool)))
                kept[0][numbers[inside] - start] = wanted[inside]
                kept[1][numbers[inside] - start] = True


def _constants(tensor: torch.Tensor, other: torch.Tensor) -> Iterator[tuple[float, torch.Tensor | None]]:
    """Each number that a tensor is compared with, few of many, and at which of its elements; None: at all."""
    values = other.detach().double().unique().tolist()
    for value in values if len(values) <= MAX_VALUES else (values[0], values[-1]):
        is_like_it = other.dim() <= tensor.dim() and all(
            size in (1, own) for size, own in zip(reversed(other.shape), reversed(tensor.shape), strict=False)
        )
        yield value, (other == value).broadcast_to(tensor.shape) if is_like_it else None
