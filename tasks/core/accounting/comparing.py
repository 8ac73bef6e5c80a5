"""How alike two arrays of numbers are: equal, with axes exchanged, narrowed, equal but for rounding, or nearly."""

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.core.arrays import EPS32, Array, eps_of

_NUM_SAMPLES = 64
_FOLDING_EPS = 8
"""Roundings by which a value may differ that was computed in another order."""
_LIKE = 0.1
"""Difference of half of the elements, as a share of their rms, up to which a constant is meant to be a tensor."""


def ends(array: Array) -> Array:
    """The least and the largest element; NaN if one is, nothing of nothing."""
    return np.array([array.min(), array.max()]) if array.size else array.reshape(-1)


def arrangements(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Orders of the axes, the plain one first; of more than four axes that one only."""
    if len(shape) > 4:
        return [tuple(range(len(shape)))]
    return list(itertools.permutations(range(len(shape))))


def is_plain(axes: tuple[int, ...]) -> bool:
    """Is this the order of the axes that there is?"""
    return axes == tuple(range(len(axes)))


def squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape without axes of length one."""
    return tuple(size for size in shape if size != 1)


def narrowed(tensor: Array, dtype: np.dtype[Any]) -> Array | None:
    """The tensor in a constant's dtype; None where that is another kind of number.

    Args:
        tensor: of the module.
        dtype: of the constant.
    """
    if tensor.dtype == dtype:
        return tensor
    if tensor.dtype.kind == dtype.kind and dtype.kind in "fiub":
        cast = tensor.astype(dtype)
        return cast if dtype.kind == "f" or np.array_equal(cast, tensor) else None
    return None


def are_equal(arranged: Array, constant: Array) -> bool:
    """Have they the same elements in the same order, whatever the shape of the constant?

    Args:
        arranged: a tensor, its axes exchanged or not.
        constant: with as many elements.
    """
    constant = constant.reshape(arranged.shape)
    few, others = some(arranged, constant)
    if not np.array_equal(few, others, equal_nan=constant.dtype.kind == "f"):
        return False
    return bool((arranged == constant).all()) or (
        constant.dtype.kind == "f" and np.array_equal(arranged, constant, equal_nan=True)
    )


def distances(constant: Array, tensor: Array) -> Array:
    """By how much each element differs, in float64.

    Args:
        constant: in the shape of the tensor.
        tensor: of the module.
    """
    return np.abs(np.subtract(constant, tensor, dtype=np.float64))


def are_like(constant: Array, tensor: Array, *, scale: float) -> bool:
    """Do half of the elements differ by little at most?

    Args:
        constant: in the shape of the tensor.
        tensor: of the module.
        scale: what is little is a share of it.
    """
    return bool(constant.size) and bool(np.median(distances(constant, tensor)) <= _LIKE * scale)


def some(*arrays: Array) -> list[Array]:
    """The same few elements, evenly spaced, of arrays of one shape."""
    size, shape = arrays[0].size, arrays[0].shape
    if not shape:
        return [array.reshape(-1) for array in arrays]
    places = np.unravel_index(np.linspace(0, max(size - 1, 0), min(_NUM_SAMPLES, size)).astype(np.int64), shape)
    return [array[places].reshape(-1) for array in arrays]


def are_close(constant: Array, value: Array, *, scale: Array | float) -> NDArray[np.bool_]:
    """Which elements are equal but for the rounding of another order of operations, at a scale?

    Args:
        constant: in the shape of the value.
        value: as computed here.
        scale: of what was added up, of all elements or of each.
    """
    wide = value.astype(np.float64)
    eps = max(EPS32, eps_of(constant.dtype))
    limit = _FOLDING_EPS * eps * (np.abs(wide) + scale)
    with np.errstate(invalid="ignore"):
        return np.asarray((np.abs(constant.astype(np.float64) - wide) <= limit) | (constant == wide))
