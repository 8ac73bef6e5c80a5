"""The constants of one file, and where among them a tensor of the module is found."""

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.core.arrays import EPS32, Array, eps_of, rms
from tasks.core.onnx_files.constants import constants

IDENTICAL, REARRANGED, NARROWED, FOLDED = "identical", "rearranged", "narrowed", "folded"
_NUM_SAMPLES = 64
_MAX_PLACES = 64
"""Places in a constant at which a row is tried that occurs there often."""
_SHORTEST_PIECE = 8
"""A piece of a tensor is at least one eighth of it long, or a whole constant: more pieces are no arrangement."""
_MAX_FLAT = 2**18
"""Elements of a constant up to which vectors are looked for in it."""
_FOLDING_EPS = 8
"""Roundings by which a value may differ that was computed in another order."""
_LIKE = 0.1
"""Difference of half of the elements, as a share of their rms, up to which a constant is meant to be a tensor."""


@dataclass(frozen=True)
class Found:
    """Where a tensor is."""

    kind: str
    """identical, rearranged, narrowed or folded."""
    names: tuple[str, ...]
    """Of the constants."""
    is_shared: bool = False
    """The constant is another tensor with the same elements, too."""


@dataclass(frozen=True)
class Nearest:
    """The constant that should be a tensor, and is not."""

    differs: NDArray[np.bool_]
    """Which elements, in the tensor's shape; all of them where there is no such constant."""
    name: str = ""
    """Of the constant; empty: there is none."""
    values: Array | None = None
    """Of the constant, in the tensor's shape."""

    @property
    def missing(self) -> NDArray[np.bool_]:
        """Elements that the file does not have: those that differ, or all where most do."""
        return self.differs if self.differs.mean() < 1 / 2 else np.ones_like(self.differs)


@dataclass(frozen=True)
class Constants:
    """All constants of a file."""

    arrays: dict[str, Array]
    explained: set[str] = field(default_factory=set)
    """Names of those that were found to be a tensor of the module."""
    reserved: set[str] = field(default_factory=set)
    """Names that weights of the module have: a constant of such a name is taken for another one only at last."""
    _known_rows: dict[tuple[int, str], list["_Rows"]] = field(default_factory=dict)
    _known_ends: dict[str, Array] = field(default_factory=dict)

    @classmethod
    def of(cls, path: Path) -> "Constants":
        """Those of a file, by name; of several constants with one name, inside branches, the last has it."""
        return cls(dict(constants(path)))

    @functools.cached_property
    def _by_size(self) -> dict[int, list[str]]:
        by_size: dict[int, list[str]] = {}
        for name, array in self.arrays.items():
            by_size.setdefault(array.size, []).append(name)
        return by_size

    def find(self, tensor: Array, *, name: str = "") -> Found | None:
        """Look for the very elements of a tensor, all in one constant: as they are, with axes exchanged, or narrowed.

        Args:
            tensor: of the module.
            name: of the constant to look at first.
        """
        same_size = self._by_size.get(tensor.size, [])
        ends = _ends(tensor)
        for other in sorted(same_size, key=lambda o: (o != name, self._is_anothers(o, name), o in self.explained)):
            constant = self.arrays[other]
            if not np.array_equal(ends.astype(constant.dtype), self._ends(other), equal_nan=constant.dtype.kind == "f"):
                continue
            if (narrowed := _narrowed(tensor, constant.dtype)) is None:
                continue
            for axes in _arrangements(tensor.shape):
                if _are_equal(narrowed.transpose(axes), constant):
                    kind = NARROWED if constant.dtype != tensor.dtype else IDENTICAL
                    found = Found(kind if _is_plain(axes) else REARRANGED, (other,), other in self.explained)
                    self.explained.add(other)
                    return found
        return None

    def close_to(self, value: Array, *, scale: Array | float) -> Found | None:
        """Look for a value that was computed by somebody else, equal but for rounding.

        Args:
            value: as computed from weights, in float32 or float64.
            scale: how large the numbers are that were added up, of all elements or of each.
        """
        ends, scales = _ends(value), np.broadcast_to(scale, value.shape)
        for name, constant in self._same_size(value):
            if constant.dtype.kind != "f" or not np.allclose(
                self._ends(name), ends, rtol=1e-3, atol=1e-3 * np.max(scale)
            ):
                continue
            few, others, at = _some(constant, value, scales)
            if _are_close(few, others, scale=at).all() and _are_close(constant, value, scale=scale).all():
                self.explained.add(name)
                return Found(FOLDED, (name,))
        return None

    def lacks(self, tensor: Array, *, name: str) -> bool:
        """Is every constant of floats with as many elements another tensor, or called like one?

        Args:
            tensor: of the module.
            name: of the tensor.
        """
        names = (n for n in self._by_size.get(tensor.size, ()) if self.arrays[n].dtype.kind == "f")
        return all(other in self.explained or self._is_anothers(other, name) for other in names)

    def _is_anothers(self, other: str, name: str) -> bool:
        """Has a constant the name of another tensor, which was not found yet? What has no name may be under any."""
        return bool(name) and other in self.reserved and other != name and other not in self.explained

    def nearest(self, tensor: Array, *, name: str = "", rounding: Array | float | None = None) -> Nearest:
        """Look for the constant that should be a tensor: most like it of those that are no other tensor.

        Args:
            tensor: of the module, in no constant as it is.
            name: of the constant to take where none is like it.
            rounding: the scale of it, of a tensor that was computed; None: elements must be equal.
        """
        best, least, scale = Nearest(np.ones(tensor.shape, dtype=bool)), np.inf, rms(tensor)
        for other, constant in self._same_size(tensor):
            if (
                other in self.explained
                or self._is_anothers(other, name)
                or (constant.dtype.kind == "f") != (tensor.dtype.kind == "f")
            ):
                continue
            is_like = _are_like(*_some(constant, tensor), scale=scale) and _are_like(constant, tensor, scale=scale)
            distance = np.minimum(_distances(constant, tensor), scale).mean() if is_like else scale
            if (is_like or other == name) and distance < least:
                differs = constant != tensor if rounding is None else ~_are_close(constant, tensor, scale=rounding)
                least, best = distance, Nearest(differs, other, constant)
        self.explained.add(best.name)
        return best

    def unexplained(self, *, least: int) -> list[str]:
        """Names of constants of floats that are no tensor of the module.

        Args:
            least: number of elements from which a constant counts.
        """
        names = (n for n in self.arrays if n not in self.explained and self.arrays[n].dtype.kind == "f")
        return [name for name in names if self.arrays[name].size >= least and np.ptp(self.arrays[name])]

    def _ends(self, name: str) -> Array:
        """The least and the largest element of a constant, which no exchange of axes changes."""
        if name not in self._known_ends:
            self._known_ends[name] = _ends(self.arrays[name])
        return self._known_ends[name]

    def _same_size(self, tensor: Array) -> Iterator[tuple[str, Array]]:
        """Constants with as many elements, in each arrangement of axes that gives the tensor's shape."""
        for name in self._by_size.get(tensor.size, ()):
            constant = self.arrays[name]
            for axes in _arrangements(tensor.shape):
                shape = tuple(tensor.shape[axis] for axis in axes)
                if _is_plain(axes) or _squeezed(constant.shape) == _squeezed(shape):
                    yield name, constant.reshape(shape).transpose(np.argsort(axes))

    def in_pieces(self, tensor: Array) -> Found | None:
        """Look for a tensor that is cut into several constants, or packed with others into one.

        Args:
            tensor: of the module.
        """
        if not tensor.ndim or tensor.dtype.kind not in "fiub" or not _is_telling(tensor):
            return None
        for rows in (tensor.reshape(len(tensor), -1), *([tensor.T] if tensor.ndim == 2 else [])):
            names = _cover(rows, self._sequences(rows.shape[1], rows.dtype))
            if names:
                self.explained.update(names)
                return Found(REARRANGED, tuple(dict.fromkeys(names)))
        return None

    def _sequences(self, width: int, dtype: np.dtype[Any]) -> "list[_Rows]":
        """The rows of this width of all constants, along each axis that has such."""
        key = (width, str(dtype))
        if key not in self._known_rows:
            found = []
            for name, constant in self.arrays.items():
                if constant.dtype == dtype and 0 < constant.size <= (_MAX_FLAT if width == 1 else constant.size):
                    if width in {prod(constant.shape[axis:]) for axis in range(constant.ndim + 1)}:
                        found.append(_Rows(name, constant.reshape(-1, width)))
                    if constant.ndim == 2 and constant.shape[0] == width:
                        found.append(_Rows(name, constant.T))
            self._known_rows[key] = found
        return self._known_rows[key]


class _Rows:
    """Rows of a constant, with a number for each by which it is found quickly."""

    def __init__(self, name: str, rows: Array) -> None:
        self.name, self.rows, self.keys = name, rows, _keys(rows)


def _cover(wanted: Array, sequences: "Sequence[_Rows]") -> list[str]:
    """Names of constants whose rows, piece after piece, are the wanted ones; none if some are missing."""
    names: list[str] = []
    keys, at = _keys(wanted), 0
    while at < len(wanted):
        longest, owner = 0, ""
        for sequence in sequences:
            for place in np.flatnonzero(sequence.keys == keys[at])[:_MAX_PLACES]:
                length = _run(sequence.keys[place:], keys[at:])
                is_piece = length * _SHORTEST_PIECE >= len(wanted) or length == len(sequence.rows)
                piece = wanted[at : at + length]
                is_likely = is_piece and length > longest and _is_telling(piece)
                if is_likely and np.array_equal(sequence.rows[place : place + length], piece):
                    longest, owner = length, sequence.name
        if not longest:
            return []
        names.append(owner)
        at += longest
    return names


def _is_telling(piece: Array) -> bool:
    """Are there different elements, so that it is not found by chance?"""
    return piece.size > 1 and bool((piece != piece.flat[0]).any())


def _run(first: NDArray[np.uint64], second: NDArray[np.uint64]) -> int:
    """How many numbers at the beginning are equal."""
    most = min(len(first), len(second))
    differs = first[:most] != second[:most]
    return int(differs.argmax()) if differs.any() else most


def _keys(rows: Array) -> NDArray[np.uint64]:
    """A number for each row, made of two of its elements."""
    picked = np.ascontiguousarray(rows[:, [0, rows.shape[1] // 2]])
    bits = picked.view(f"u{picked.dtype.itemsize}").astype(np.uint64)
    return np.asarray(bits[:, 0] * np.uint64(0x9E3779B97F4A7C15) + bits[:, 1])


def _ends(array: Array) -> Array:
    """The least and the largest element; NaN if one is, nothing of nothing."""
    return np.array([array.min(), array.max()]) if array.size else array.reshape(-1)


def _arrangements(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Orders of the axes, the plain one first; of more than four axes that one only."""
    if len(shape) > 4:
        return [tuple(range(len(shape)))]
    return list(itertools.permutations(range(len(shape))))


def _is_plain(axes: tuple[int, ...]) -> bool:
    return axes == tuple(range(len(axes)))


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)


def _narrowed(tensor: Array, dtype: np.dtype[Any]) -> Array | None:
    """The tensor in a constant's dtype; None where that is another kind of number."""
    if tensor.dtype == dtype:
        return tensor
    if tensor.dtype.kind == dtype.kind and dtype.kind in "fiub":
        cast = tensor.astype(dtype)
        return cast if dtype.kind == "f" or np.array_equal(cast, tensor) else None
    return None


def _are_equal(arranged: Array, constant: Array) -> bool:
    """Have they the same elements in the same order, whatever the shape of the constant?"""
    constant = constant.reshape(arranged.shape)
    few, others = _some(arranged, constant)
    if not np.array_equal(few, others, equal_nan=constant.dtype.kind == "f"):
        return False
    return bool((arranged == constant).all()) or (
        constant.dtype.kind == "f" and np.array_equal(arranged, constant, equal_nan=True)
    )


def _distances(constant: Array, tensor: Array) -> Array:
    return np.abs(np.subtract(constant, tensor, dtype=np.float64))


def _are_like(constant: Array, tensor: Array, *, scale: float) -> bool:
    """Do half of the elements differ by little at most?"""
    return bool(constant.size) and bool(np.median(_distances(constant, tensor)) <= _LIKE * scale)


def _some(*arrays: Array) -> list[Array]:
    """The same few elements, evenly spaced, of arrays of one shape."""
    size, shape = arrays[0].size, arrays[0].shape
    if not shape:
        return [array.reshape(-1) for array in arrays]
    places = np.unravel_index(np.linspace(0, max(size - 1, 0), min(_NUM_SAMPLES, size)).astype(np.int64), shape)
    return [array[places].reshape(-1) for array in arrays]


def _are_close(constant: Array, value: Array, *, scale: Array | float) -> NDArray[np.bool_]:
    """Which elements are equal but for the rounding of another order of operations, at a scale?"""
    wide = value.astype(np.float64)
    eps = max(EPS32, eps_of(constant.dtype))
    limit = _FOLDING_EPS * eps * (np.abs(wide) + scale)
    with np.errstate(invalid="ignore"):
        return np.asarray((np.abs(constant.astype(np.float64) - wide) <= limit) | (constant == wide))
