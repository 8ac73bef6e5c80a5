"""Which elements of a module's inputs the elements of a tensor are, or follow from by a straight line.

Each element of the inputs has a number. An operator that moves elements, such as a view, is applied to the numbers,
too; one that computes with them, such as `x * 2 + 1`, changes how steeply its result follows from the element.
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.weak import WeakTensorKeyDictionary

_MOVES = {
    "alias", "cat", "clone", "contiguous", "detach", "diagonal", "expand", "flip", "gather", "index", "index_select",
    "narrow", "permute", "repeat", "reshape", "roll", "select", "slice", "split", "split_with_sizes", "squeeze",
    "stack", "t", "take", "transpose", "unbind", "unfold", "unsqueeze", "view", "_reshape_alias", "_unsafe_view",
    "where",
}  # fmt: skip
"""Operators whose results are elements of their operands."""
PICKS = {"gather", "index", "index_select", "take"}
"""Those that take elements of their first operand only."""
_REPLACES = {"clamp", "clamp_max", "clamp_min", "hardtanh", "index_put", "masked_fill", "maximum", "minimum",
             "nan_to_num", "relu"}  # fmt: skip
"""Operators that keep elements but for some that they replace."""
_ARITHMETIC = {"add", "div", "mul", "rsub", "sub"}
_KEEPS = {"_to_copy", "abs", "ceil", "floor", "neg", "round", *_ARITHMETIC, *_REPLACES}
"""Operators whose results follow from the same elements."""
_REDUCES = {"amax", "any", "linalg_vector_norm", "max", "sum"}
"""Operators whose result is zero where all elements are."""


@dataclass(frozen=True)
class Call:
    """A call of an operator."""

    func: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    @functools.cached_property
    def name(self) -> str:
        """Of the operator, without overload and the underscore of one that works in place."""
        name = str(getattr(self.func, "__name__", "")).partition(".")[0]
        return name[:-1] if name.endswith("_") and not name.startswith("_") else name

    @functools.cached_property
    def given(self) -> dict[str, Any]:
        """Arguments by name; control flow has none."""
        schema = getattr(self.func, "_schema", None)
        names = [argument.name for argument in schema.arguments] if schema else []
        return {**dict(zip(names, self.args, strict=False)), **self.kwargs}

    @functools.cached_property
    def tensors(self) -> list[torch.Tensor]:
        """All that it is given, in lists, too."""
        return [value for value in tree_leaves((self.args, self.kwargs)) if isinstance(value, torch.Tensor)]


@dataclass(frozen=True)
class Origin:
    """Where the elements of a tensor come from."""

    elements: torch.Tensor
    """int64: number of the input's element, -1 for any other value."""
    slope: torch.Tensor
    """float64, the same shape: change of the value with that element's; NaN: no straight line."""
    is_reduced: bool = False
    """The tensor is zero where all of these elements are; it has another shape."""


class Origins:
    """Origins of the tensors that were followed so far."""

    def __init__(self, tensors: Sequence[torch.Tensor]) -> None:
        """Number the elements of a module's inputs."""
        self.starts = np.cumsum([0, *(tensor.numel() for tensor in tensors)])
        """The first number of each input, and the one after the last of all."""
        self.values = torch.cat([tensor.double().flatten() for tensor in tensors]) if tensors else torch.empty(0)
        """float64, by number: the value of each element."""
        self._known: Any = WeakTensorKeyDictionary()
        for tensor, start in zip(tensors, self.starts, strict=False):
            numbers = torch.arange(start, start + tensor.numel()).reshape(tensor.shape)
            self._known[tensor] = Origin(numbers, torch.ones(tensor.shape, dtype=torch.float64))

    def __contains__(self, tensor: torch.Tensor) -> bool:
        """Does a tensor depend on the inputs in any way?"""
        return tensor in self._known

    def of(self, tensor: Any) -> Origin | None:
        """The origin of a tensor; None where it does not follow from the inputs element by element."""
        return self._known.get(tensor) if isinstance(tensor, torch.Tensor) else None

    def followed(self, call: Call) -> Any:
        """Make a call, and give what it returns, whose origins are known from then on."""
        origins: list[Origin | None] = []
        before = None
        if any(self.of(tensor) for tensor in call.tensors):
            origins = self._origins(call)
            if call.name in _REPLACES and self.of(call.args[0]):
                before = call.args[0].detach().clone()
        result = call.func(*call.args, **call.kwargs)
        results = [value for value in tree_leaves(result) if isinstance(value, torch.Tensor)]
        for index, value in enumerate(results):
            origin = origins[index] if len(origins) == len(results) else None
            fits = origin is not None and (origin.is_reduced or origin.elements.shape == value.shape)
            if origin is not None and fits and before is not None and before.shape == value.shape == origin.slope.shape:
                origin = Origin(origin.elements, torch.where(before == value, origin.slope, torch.nan))
            self._known[value] = origin if fits else None
        return result

    def _origins(self, call: Call) -> list[Origin | None]:
        """The origins of a call's results, one a result; none where they are not elements of an input."""
        try:
            if call.name in _MOVES:
                return [*self._moved(call)]
            if call.name in _KEEPS:
                return [self._kept(call)]
        except (RuntimeError, TypeError, IndexError):  # an operator that does not take such numbers
            return []
        origin = self.of(call.args[0]) if call.name in _REDUCES else None
        return [origin and Origin(origin.elements[origin.elements >= 0], torch.empty(0), is_reduced=True)]

    def _moved(self, call: Call) -> Iterator[Origin]:
        """Move numbers and slopes as the operator moves values."""
        parts = []
        for field in ("elements", "slope"):
            replaced = functools.partial(self._replaced, field=field)
            given = [*tree_map(replaced, call.args)]
            if call.name == "where":
                given[0] = call.args[0]
            elif call.name in PICKS:
                given[1:] = call.args[1:]
            parts.append(tree_leaves(call.func(*given, **tree_map(replaced, dict(call.kwargs)))))
        return (Origin(elements, slope) for elements, slope in zip(*parts, strict=True))

    def _replaced(self, value: Any, *, field: str) -> Any:
        """Numbers or slopes of a tensor in its place; those of another one say that it is none of the input's."""
        origin = self.of(value)
        if origin is not None and not origin.is_reduced:
            return getattr(origin, field)
        if isinstance(value, torch.Tensor) and (value.is_floating_point() or value in self):
            number, dtype = (-1, torch.int64) if field == "elements" else (torch.nan, torch.float64)
            return torch.full(value.shape, number, dtype=dtype)
        return value

    def _kept(self, call: Call) -> Origin | None:
        """Numbers of the one operand that follows from the inputs, with the slope of the result."""
        operands = [value for value in call.args if isinstance(value, torch.Tensor)]
        followed = [value for value in operands if self.of(value)]
        if len(followed) != 1 or (call.name in _ARITHMETIC and sum(value in self for value in operands) > 1):
            return None
        origin = self._known[followed[0]]
        if origin.is_reduced:
            return origin  # type: ignore[no-any-return]
        shape = torch.broadcast_shapes(*(value.shape for value in operands[:2]))
        shape = followed[0].shape if call.name == "index_put" else shape
        slope = origin.slope * _factor(call, is_first=call.args[0] is followed[0])
        return Origin(origin.elements.broadcast_to(shape), slope.broadcast_to(shape))


def _factor(call: Call, *, is_first: bool) -> Any:
    """By how much steeper the result follows from an operand, the first or the second one, than that does itself."""
    other = call.args[1 if is_first else 0] if call.name in ("mul", "div") else 1.0
    other = other.detach().double() if isinstance(other, torch.Tensor) else float(other)
    match call.name:
        case "mul":
            return other
        case "div":
            return 1.0 / other if is_first else torch.nan
        case "abs":
            return call.args[0].detach().sign().double()
        case "neg":
            return -1.0
        case "sub":
            return 1.0 if is_first else -1.0
        case "rsub":
            return -1.0 if is_first else 1.0
        case "ceil" | "floor" | "round":
            return torch.nan
    return 1.0
