"""Tensors that are cut into several constants, or packed with others into one."""

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.core.arrays import Array

_MAX_PLACES = 64
"""Places in a constant at which a row is tried that occurs there often."""
_SHORTEST_PIECE = 8
"""A piece of a tensor is at least one eighth of it long, or a whole constant: more pieces are no arrangement."""
_MAX_FLAT = 2**18
"""Elements of a constant up to which vectors are looked for in it."""


class Pieces:
    """The rows of a file's constants."""

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        """Take the constants by name."""
        self._arrays = arrays
        self._known: dict[tuple[int, str], list[_Rows]] = {}

    def find(self, tensor: Array) -> list[str]:
        """Names of the constants whose rows, piece after piece, are those of a tensor, or its columns; empty: none."""
        if not tensor.ndim or tensor.dtype.kind not in "fiub" or not _is_telling(tensor):
            return []
        for rows in (tensor.reshape(len(tensor), -1), *([tensor.T] if tensor.ndim == 2 else [])):
            if names := _cover(rows, self._sequences(rows.shape[1], rows.dtype)):
                return names
        return []

    def _sequences(self, width: int, dtype: np.dtype[Any]) -> list["_Rows"]:
        """The rows of this width of all constants, along each axis that has such."""
        key = (width, str(dtype))
        if key not in self._known:
            found = []
            for name, constant in self._arrays.items():
                if constant.dtype == dtype and 0 < constant.size <= (_MAX_FLAT if width == 1 else constant.size):
                    if width in {prod(constant.shape[axis:]) for axis in range(constant.ndim + 1)}:
                        found.append(_Rows(name, constant.reshape(-1, width)))
                    if constant.ndim == 2 and constant.shape[0] == width:
                        found.append(_Rows(name, constant.T))
            self._known[key] = found
        return self._known[key]


class _Rows:
    """Rows of a constant, with a number for each by which it is found quickly."""

    def __init__(self, name: str, rows: Array) -> None:
        self.name, self.rows, self.keys = name, rows, _keys(rows)


def _cover(wanted: Array, sequences: list[_Rows]) -> list[str]:
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
