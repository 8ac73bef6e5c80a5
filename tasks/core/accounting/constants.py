"""The constants of one file, and where among them a tensor of the module is found."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.core.accounting.comparing import (
    are_close,
    are_equal,
    are_like,
    arrangements,
    distances,
    ends,
    is_plain,
    narrowed,
    some,
    squeezed,
)
from tasks.core.accounting.pieces import Pieces
from tasks.core.arrays import Array, rms
from tasks.core.onnx_files.constants import constants, unload

IDENTICAL, REARRANGED, NARROWED, FOLDED = "identical", "rearranged", "narrowed", "folded"


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
        extremes = ends(tensor)
        for other in sorted(same_size, key=lambda o: (o != name, self._is_anothers(o, name), o in self.explained)):
            kind = self._kind(tensor, other, extremes=extremes)
            unload(self.arrays[other])  # or all of a large file would lie in memory beside the module
            if kind:
                found = Found(kind, (other,), other in self.explained)
                self.explained.add(other)
                return found
        return None

    def _kind(self, tensor: Array, other: str, *, extremes: Array) -> str | None:
        """How a constant has the very elements of a tensor with as many; None: it is another one."""
        constant = self.arrays[other]
        is_float = constant.dtype.kind == "f"
        with np.errstate(invalid="ignore"):  # what an integer can't hold is another number, and so another tensor
            ends = extremes.astype(constant.dtype)
        if not np.array_equal(ends, self._ends(other), equal_nan=is_float):
            return None
        if (cast := narrowed(tensor, constant.dtype)) is None:
            return None
        axes = next((axes for axes in arrangements(tensor.shape) if are_equal(cast.transpose(axes), constant)), None)
        if axes is None:
            return None
        if not is_plain(axes):
            return REARRANGED
        return NARROWED if constant.dtype != tensor.dtype else IDENTICAL

    def close_to(self, value: Array, *, scale: Array | float) -> Found | None:
        """Look for a value that was computed by somebody else, equal but for rounding.

        Args:
            value: as computed from weights, in float32 or float64.
            scale: how large the numbers are that were added up, of all elements or of each.
        """
        extremes, scales = ends(value), np.broadcast_to(scale, value.shape)
        for name, constant in self._same_size(value):
            if constant.dtype.kind != "f" or not np.allclose(
                self._ends(name), extremes, rtol=1e-3, atol=1e-3 * np.max(scale)
            ):
                continue
            few, others, at = some(constant, value, scales)
            if are_close(few, others, scale=at).all() and are_close(constant, value, scale=scale).all():
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
            is_like = are_like(*some(constant, tensor), scale=scale) and are_like(constant, tensor, scale=scale)
            distance = np.minimum(distances(constant, tensor), scale).mean() if is_like else scale
            if (is_like or other == name) and distance < least:
                differs = constant != tensor if rounding is None else ~are_close(constant, tensor, scale=rounding)
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
            self._known_ends[name] = ends(self.arrays[name])
        return self._known_ends[name]

    def _same_size(self, tensor: Array) -> Iterator[tuple[str, Array]]:
        """Constants with as many elements, in each arrangement of axes that gives the tensor's shape."""
        for name in self._by_size.get(tensor.size, ()):
            constant = self.arrays[name]
            for axes in arrangements(tensor.shape):
                shape = tuple(tensor.shape[axis] for axis in axes)
                if is_plain(axes) or squeezed(constant.shape) == squeezed(shape):
                    yield name, constant.reshape(shape).transpose(np.argsort(axes))

    @functools.cached_property
    def _pieces(self) -> Pieces:
        return Pieces(self.arrays)

    def in_pieces(self, tensor: Array) -> Found | None:
        """Look for a tensor that is cut into several constants, or packed with others into one.

        Args:
            tensor: of the module.
        """
        names = self._pieces.find(tensor)
        self.explained.update(names)
        return Found(REARRANGED, tuple(dict.fromkeys(names))) if names else None
