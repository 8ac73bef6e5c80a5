"""Arrays of numbers, and the arithmetic on them that every room shares; needs no PyTorch."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
EPS32 = _EPS["float32"]
"""Spacing of float32 at 1.0, 2**-23."""


def eps_of(dtype: object) -> float:
    """Spacing at 1.0 of a floating-point dtype, NumPy's or PyTorch's: twice the largest error of one rounding."""
    return _EPS[str(dtype).removeprefix("torch.")]


def ratio(value: float, floor: float) -> float:
    """Value / floor, where 0 / 0 is 0 and NaN stays NaN.

    Args:
        value: at least 0.
        floor: at least 0.
    """
    if floor > 0:
        return value / floor
    return 0.0 if value == 0 else (math.nan if math.isnan(value) or math.isnan(floor) else math.inf)


def worst(values: Iterable[float]) -> float:
    """The largest; NaN counts as larger than all; 0 for none."""
    return max(values, key=lambda value: math.inf if math.isnan(value) else value, default=0.0)


def rms(values: Array) -> float:
    """Root mean square over finite elements; 0 for none."""
    finite = values[np.isfinite(values)].astype(np.float64) if values.dtype.kind == "f" else values.astype(np.float64)
    return math.sqrt(float(np.square(finite).mean())) if finite.size else 0.0


def error_of(values: Array, exact: Array) -> Array:
    """How far values are off, float64; NaN where both are the same infinity.

    Args:
        values: of any dtype.
        exact: of the same shape.
    """
    with np.errstate(invalid="ignore"):
        return np.asarray(values.astype(np.float64) - exact)


NUM_MAGNITUDES = 256
"""Orders of magnitude of float64, each a factor of 256 wide: the upper bits of the exponent."""


def magnitudes(values: Array) -> NDArray[np.int64]:
    """Number of the order of magnitude of each element; that of zeros is 0."""
    bits = np.ascontiguousarray(values, dtype=np.float64).view(np.int64)
    return bits >> 55 & NUM_MAGNITUDES - 1


def least_of(magnitude: int) -> float:
    """The smallest size of an order of magnitude, by its number."""
    return math.ldexp(1.0, 8 * magnitude - 1023) if magnitude else 0.0
