"""The arithmetic of the verdict: errors against float64, pooled, as a multiple of float32's own noise.

Every comparison is written so that NaN fails: `not ratio <= limit`.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tasks.core.arrays import EPS32, ratio
from tasks.core.limits import MAX_SLICES, MIN_SLICE_ELEMENTS
from tasks.core.proof.runs import OutputRuns
from tasks.core.records.evidence import FamilyParity

Floats = NDArray[np.float64]


class _Squares:
    """Sums of squares of one output over one family, whole or per slice of an axis."""

    def __init__(self, axis: int | None) -> None:
        self._axis = axis
        self._onnx: Floats | float = 0.0
        self._noise: Floats | float = 0.0
        self._reference: Floats | float = 0.0
        self._counts = np.zeros(3)

    def add(self, onnx: Sequence[Floats], noise: Sequence[Floats], reference: Floats) -> None:
        for error in onnx:
            self._onnx = self._onnx + self._sum(error)
        for error in noise:
            self._noise = self._noise + self._sum(error)
        self._reference = self._reference + self._sum(reference)
        per_slice = reference.size / (1 if self._axis is None else reference.shape[self._axis])
        self._counts += per_slice * np.array([len(onnx), len(noise), 1.0])

    @property
    def num_noise_elements(self) -> float:
        return float(self._counts[1])

    def rms(self) -> tuple[Floats, Floats, Floats]:
        """Root mean squares of the file's error, of torch32's error and of the reference."""
        onnx, noise, reference = (
            np.sqrt(np.atleast_1d(total) / max(count, 1.0))
            for total, count in zip((self._onnx, self._noise, self._reference), self._counts, strict=True)
        )
        return onnx, noise, reference

    def _sum(self, values: Floats) -> Floats:
        axes = None if self._axis is None else tuple(i for i in range(values.ndim) if i != self._axis)
        return np.asarray(np.square(values).sum(axis=axes))


class FloatPool:
    """Pools one floating-point output over the probes of one family."""

    def __init__(self, family: str) -> None:
        self._family = family
        self._whole = _Squares(None)
        self._slices: dict[tuple[int, int], _Squares] = {}
        self._max_abs = self._max_rel = 0.0
        self._dots = np.zeros(3)
        self._num_elements = self._num_probes = 0

    def add(self, runs: OutputRuns, *, batch_axis: int | None) -> None:
        """Add one probe.

        Args:
            runs: the output's values.
            batch_axis: axis that is not judged slice by slice; None: judge every axis.
        """
        torch32, float64 = runs.torch32, runs.float64
        finite = np.isfinite(torch32) & np.isfinite(float64)
        exact = np.where(finite, float64, 0.0).astype(np.float64)
        errors = [np.where(finite, answer, 0.0) - exact for answer in runs.onnx]
        noise = [np.where(finite, answer, 0.0) - exact for answer in (torch32, *runs.perturbed)]
        self._whole.add(errors, noise, exact)
        for axis, size in enumerate(exact.shape):
            if axis != batch_axis and 1 < size <= MAX_SLICES:
                self._slices.setdefault((axis, size), _Squares(axis)).add(errors, noise, exact)
        self._num_elements += int(finite.sum())
        self._num_probes += 1
        base = np.where(finite, torch32, 0.0).astype(np.float64)
        scale = math.sqrt(float(np.square(base).mean())) if base.size else 0.0
        for answer in runs.onnx:
            other = np.where(finite, answer, 0.0).astype(np.float64)
            difference = np.abs(other - base)
            if difference.size:
                self._max_abs = _nan_max(self._max_abs, float(difference.max()))
                self._max_rel = _nan_max(
                    self._max_rel, float((difference / np.maximum(np.abs(base), scale or 1.0)).max())
                )
            self._dots += [float((other * base).sum()), float(np.square(other).sum()), float(np.square(base).sum())]

    def result(self) -> FamilyParity:
        """The figures of this family."""
        onnx, noise, reference = (float(values[0]) for values in self._whole.rms())
        slice_ratio, worst = self._worst_slice(reference)
        norm = math.sqrt(self._dots[1]) * math.sqrt(self._dots[2])
        return FamilyParity(
            family=self._family,
            noise_ratio=ratio(onnx, max(noise, EPS32 * reference)),
            slice_ratio=slice_ratio,
            worst_slice=worst,
            relative_error=ratio(onnx, reference),
            torch_relative_error=ratio(noise, reference),
            max_abs_difference=self._max_abs,
            max_rel_difference=self._max_rel,
            cosine=float(self._dots[0] / norm) if norm else 1.0,
            num_elements=self._num_elements,
            num_probes=self._num_probes,
        )

    def _worst_slice(self, whole_reference: float) -> tuple[float, str]:
        """The worst ratio of a slice; its floor is no less than eps32 of the whole output.

        Values of a slice that are zero but for rounding (a ReLU's) have no scale of their own.
        """
        worst, where = 0.0, ""
        for (axis, _), squares in self._slices.items():
            if squares.num_noise_elements < MIN_SLICE_ELEMENTS:
                continue
            onnx, noise, reference = squares.rms()
            floor = np.maximum(noise, EPS32 * np.maximum(reference, whole_reference))
            ratios = np.array([ratio(float(a), float(b)) for a, b in zip(onnx, floor, strict=True)])
            index = int(np.argmax(np.where(np.isnan(ratios), np.inf, ratios)))
            if not float(ratios[index]) <= worst:
                worst, where = float(ratios[index]), f"axis {axis}, index {index}"
        return worst, where


class ExactPool:
    """Pools one integer or bool output: equal to torch32's, except where float64 decides otherwise."""

    def __init__(self, family: str) -> None:
        self._family = family
        self._num_elements = self._num_probes = self._num_mismatched = self._num_unstable = 0
        self._max_abs = 0.0

    def add(self, runs: OutputRuns, *, batch_axis: int | None) -> None:
        """Add one probe.

        Args:
            runs: the output's values.
            batch_axis: of no use here, as there are no slices.
        """
        del batch_axis
        torch32 = runs.torch32
        unstable = torch32 != runs.float64
        for answer in runs.perturbed:
            unstable |= answer != torch32
        for answer in runs.onnx:
            differs = answer != torch32
            self._num_mismatched += int((differs & ~unstable).sum())
            if differs.any():
                self._max_abs = max(self._max_abs, float(np.abs(answer.astype(float) - torch32.astype(float)).max()))
        self._num_unstable += int(unstable.sum())
        self._num_elements += int(torch32.size)
        self._num_probes += 1

    def result(self) -> FamilyParity:
        """The figures of this family; the ratio is 0 where all is equal, else infinite."""
        mismatched = self._num_mismatched / max(self._num_elements, 1)
        return FamilyParity(
            family=self._family,
            noise_ratio=math.inf if self._num_mismatched else 0.0,
            slice_ratio=0.0,
            relative_error=mismatched,
            torch_relative_error=0.0,
            max_abs_difference=self._max_abs,
            max_rel_difference=0.0,
            cosine=1.0,
            num_elements=self._num_elements,
            num_probes=self._num_probes,
            mismatched_share=mismatched,
            unstable_share=self._num_unstable / max(self._num_elements, 1),
        )


def _nan_max(a: float, b: float) -> float:
    return math.nan if math.isnan(a) or math.isnan(b) else max(a, b)
