"""Sums of squares of errors over slices of an output, and the worst ratio of a slice to its noise."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from tasks.core.arrays import NUM_MAGNITUDES, Array, eps_of, least_of, magnitudes, ratio, rms
from tasks.core.limits import CANCELLED, LUCKY_SHARE, MAX_SLICES, MIN_SLICE_ELEMENTS, SLICE_LIMIT

Floats = NDArray[np.float64]
Summed = Callable[[Floats], Floats]
"""Sums an array slice by slice: float64 [slices]."""

_VALUES = "values"


def usual_rms(errors: Array) -> float:
    """Root mean square without the few largest, which are luck where a rounding decides between two answers."""
    found = np.sort(np.abs(errors), axis=None)
    return rms(found[: found.size - int(LUCKY_SHARE * found.size)])


def _whole(values: Floats) -> Floats:
    return np.array([values.sum()])


def _along(axis: int, num_axes: int) -> Summed:
    """Sums over all axes but one."""
    others = tuple(i for i in range(num_axes) if i != axis)
    return lambda values: np.asarray(values.sum(axis=others))


def _by_magnitude(exact: Floats) -> Summed:
    """Sums over the elements of one order of magnitude; zeros come first."""
    groups = magnitudes(exact).reshape(-1)
    return lambda values: np.bincount(groups, weights=values.reshape(-1), minlength=NUM_MAGNITUDES).astype(np.float64)


class Squares:
    """Sums of squares of the file's errors, the module's own errors and the reference, one of each a slice."""

    def __init__(self) -> None:
        self._sums: list[Floats] = [np.zeros(1)] * 3
        self.counts: list[Floats] = [np.zeros(1)] * 3

    def add(self, *values: Sequence[Floats], summed: Summed = _whole) -> None:
        """Add squares, arrays of equal shape.

        Args:
            values: of errors of the file, of errors of the module, of references.
            summed: how an array is summed, slice by slice.
        """
        sizes = summed(np.broadcast_to(1.0, values[2][0].shape))
        for index, arrays in enumerate(values):
            for array in arrays:
                self._sums[index] = self._sums[index] + summed(array)
            self.counts[index] = self.counts[index] + sizes * len(arrays)

    def rms(self) -> list[Floats]:
        """Root mean squares, one a slice."""
        return [np.sqrt(total / np.maximum(count, 1.0)) for total, count in zip(self._sums, self.counts, strict=True)]


class Slices:
    """The slices of an output: along each axis but the batch's, and the elements of each order of magnitude."""

    def __init__(self, *, own_scales: bool) -> None:
        """Take slices that are held to their own scale, or all of them to that of the whole."""
        self._own_scales = own_scales
        self._by_axis: dict[tuple[int, int], Squares] = {}
        self._by_magnitude = Squares()

    def add(self, errors: Sequence[Floats], noise: Sequence[Floats], exact: Floats, *, batch_axis: int | None) -> None:
        """Add one probe.

        Args:
            errors: squares of the file's, float64 [as the output].
            noise: squares of errors of the module's own runs, the same.
            exact: the reference, the same.
            batch_axis: the axis without slices; None: there is none.
        """
        square = np.square(exact)
        for axis, size in enumerate(exact.shape):
            if axis != batch_axis and 1 < size <= MAX_SLICES:
                squares = self._by_axis.setdefault((axis, size), Squares())
                squares.add(errors, noise, [square], summed=_along(axis, exact.ndim))
        if exact.size:
            self._by_magnitude.add(errors, noise, [square], summed=_by_magnitude(exact))

    def worst(self, dtype: str, whole: float) -> tuple[float, str, float]:
        """The worst ratio of a slice, where it is, and the worst that is small only because the floor is of the whole.

        Values that are zero but for rounding, as a ReLU's, have no scale of their own: an error of one rounding of
        the whole output is none of theirs.

        Args:
            dtype: of the output.
            whole: root mean square of the whole output.
        """
        kinds = {
            **{f"axis {axis}": squares for (axis, _), squares in self._by_axis.items()},
            _VALUES: self._by_magnitude,
        }
        ratios = {kind: self._ratios(squares, dtype, whole) for kind, squares in kinds.items()}
        worst, where, borrowed = 0.0, "", 0.0
        for kind, (held, own) in ratios.items():
            index = int(np.argmax(np.where(np.isnan(held), np.inf, held)))
            is_named = kind == _VALUES and worst > SLICE_LIMIT  # an axis says more
            if not held[index] <= worst and not is_named:
                worst, where = float(held[index]), _place(kind, index)
            borrowed = max(borrowed, float(np.max(own)))
        return worst, where, borrowed

    def _ratios(self, squares: Squares, dtype: str, whole: float) -> tuple[Floats, Floats]:
        """The ratio of each slice, and where the floor is of the whole that to its own scale, else 0."""
        onnx, noise, reference = squares.rms()
        known = np.finfo(dtype)
        # runtimes flush what is smaller to zero
        least = float(known.smallest_subnormal if known.bits < 32 else known.tiny)
        own = np.maximum(np.maximum(noise, eps_of(dtype) * reference), least)
        borrows = (not self._own_scales) | (reference == 0) | (noise > max(CANCELLED, eps_of(dtype)) * reference)
        floor = np.where(borrows, np.maximum(own, eps_of(dtype) * whole), own)
        enough = squares.counts[1] >= MIN_SLICE_ELEMENTS
        held, alone = (
            np.array([ratio(float(a), float(b)) if c else 0.0 for a, b, c in zip(onnx, floors, where, strict=True)])
            for floors, where in ((floor, enough), (own, enough & borrows & self._own_scales))
        )
        return held, alone


def _place(kind: str, index: int) -> str:
    if kind != _VALUES:
        return f"{kind}, index {index}"
    if index == 0:
        return "its zeros"
    return f"values of {least_of(index):.3g} to {least_of(index) * NUM_MAGNITUDES:.3g}"
