"""The arithmetic of the verdict: errors against float64, pooled, as a multiple of float32's own noise.

Every comparison is written so that NaN fails: `not ratio <= limit`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.core.arrays import Array, eps_of, ratio, rms
from tasks.core.limits import CANCELLED, EDGE
from tasks.core.proof.squares import Floats, Slices, Squares, usual_rms
from tasks.core.records.evidence import FamilyParity


@dataclass(frozen=True)
class OutputRuns:
    """One output's values on one probe, all of one shape."""

    onnx: Sequence[Array]
    """The file's, one an optimisation level."""
    torch32: Array
    """The module's in float32; elements that are not finite here are not compared."""
    perturbed: Sequence[Array]
    """The module's with weights off by one rounding."""
    float64: Array
    """The module's in float64."""
    otherwise: Sequence[Array] = ()
    """The module's where choices among values that are equal but for noise fell otherwise."""
    batch_axis: int | None = None
    """The axis that is not judged slice by slice."""


@dataclass(frozen=True)
class Runs:
    """All outputs' values on one probe, in the module's order; those sized by data may differ in length."""

    onnx: Sequence[list[Array]]
    torch32: list[Array]
    perturbed: Sequence[list[Array]]
    float64: list[Array]
    otherwise: Sequence[list[Array]] = ()

    @property
    def others(self) -> list[list[Array]]:
        """The module's runs beside the one in float32."""
        return [self.float64, *self.perturbed]

    def of(self, index: int) -> OutputRuns:
        """One output's values."""
        return OutputRuns(
            onnx=[answer[index] for answer in self.onnx],
            torch32=self.torch32[index],
            perturbed=[answer[index] for answer in self.perturbed],
            float64=self.float64[index],
            otherwise=[answer[index] for answer in self.otherwise],
        )


class FloatPool:
    """Pools one floating-point output over the probes of one family."""

    def __init__(self, family: str) -> None:
        self._family = family
        self._whole, self._slices = Squares(), Slices(own_scales=family != "zeros")
        self._max_abs = self._max_rel = 0.0
        self._dots = np.zeros(3)
        self._num_elements = self._num_probes = self._num_unstable = 0
        self.jumps = False
        """Are single errors of the module's own so large that a choice must have fallen otherwise?"""
        self._dtype = "float32"

    def add(self, runs: OutputRuns) -> None:
        """Add one probe."""
        self._dtype = runs.torch32.dtype.name
        lucky, num_unexplained = _luck(runs)
        finite = np.isfinite(runs.torch32) & np.isfinite(runs.float64) & ~lucky
        self._num_unstable += num_unexplained

        def known(values: Array) -> Floats:
            return np.where(finite, values, 0.0).astype(np.float64)

        exact, base = known(runs.float64), known(runs.torch32)
        errors = [np.square(known(answer) - exact) for answer in runs.onnx]
        noise = [np.square(known(answer) - exact) for answer in (runs.torch32, *runs.perturbed)]
        self._whole.add(errors, noise, [np.square(exact)])
        self.jumps |= math.sqrt(max(float(own.max(initial=0.0)) for own in noise)) > CANCELLED * rms(exact)
        self._slices.add(errors, noise, exact, batch_axis=runs.batch_axis)
        self._num_elements += int(finite.sum())
        self._num_probes += 1
        scale = math.sqrt(float(np.square(base).mean())) if base.size else 0.0
        for other in map(known, runs.onnx):
            difference = np.abs(other - base)
            if difference.size:
                relative = difference / np.maximum(np.abs(base), scale or 1.0)
                self._max_abs = float(np.maximum(self._max_abs, difference.max()))  # NaN, if either is
                self._max_rel = float(np.maximum(self._max_rel, relative.max()))
            self._dots += [float((other * base).sum()), float(np.square(other).sum()), float(np.square(base).sum())]

    def result(self) -> FamilyParity:
        """The figures of this family."""
        onnx, noise, reference = (float(values[0]) for values in self._whole.rms())
        slice_ratio, worst, borrowed_ratio = self._slices.worst(self._dtype, reference)
        norm = math.sqrt(self._dots[1]) * math.sqrt(self._dots[2])
        return FamilyParity(
            family=self._family,
            noise_ratio=ratio(onnx, max(noise, eps_of(self._dtype) * reference)),
            slice_ratio=slice_ratio,
            worst_slice=worst,
            borrowed_ratio=borrowed_ratio,
            relative_error=ratio(onnx, reference),
            torch_relative_error=ratio(noise, reference),
            max_abs_difference=self._max_abs,
            max_rel_difference=self._max_rel,
            cosine=float(self._dots[0] / norm) if norm else 1.0,
            num_elements=self._num_elements,
            num_probes=self._num_probes,
            unstable_share=self._num_unstable / max(self._num_elements + self._num_unstable, 1),
            dtype=self._dtype,
        )


def _luck(runs: OutputRuns) -> tuple[NDArray[np.bool_], int]:
    """Elements that hang on a choice which is luck, and how many of them no run of the module explains in the file."""
    lucky = np.zeros(runs.torch32.shape, dtype=np.bool_)
    if not runs.otherwise:
        return lucky, 0
    base = runs.torch32.astype(np.float64)
    edge = EDGE * np.maximum(usual_rms(base - runs.float64), eps_of(runs.torch32.dtype) * np.abs(base))
    for other in runs.otherwise:
        lucky |= np.abs(other - base) > edge
    known = (base, runs.float64, *runs.perturbed, *runs.otherwise)
    unexplained = np.zeros_like(lucky)
    for answer in runs.onnx:
        unexplained |= ~np.any([np.abs(answer - own) <= edge for own in known], axis=0)
    return lucky, int((lucky & unexplained).sum())


class ExactPool:
    """Pools one integer or bool output: equal to torch32's, except where float64 decides otherwise."""

    def __init__(self, family: str) -> None:
        self._family = family
        self._num_elements = self._num_probes = self._num_mismatched = self._num_unstable = 0
        self._max_abs, self._dtype = 0.0, "int64"

    def add(self, runs: OutputRuns) -> None:
        """Add one probe."""
        torch32 = runs.torch32
        self._dtype = torch32.dtype.name
        unstable, lucky = torch32 != runs.float64, np.zeros(torch32.shape, dtype=np.bool_)
        for answer in runs.perturbed:
            unstable |= answer != torch32
        for answer in runs.otherwise:
            lucky |= answer != torch32
        unexplained = unstable & ~lucky
        for answer in runs.onnx:
            differs = answer != torch32
            self._num_mismatched += int((differs & ~unstable & ~lucky).sum())
            unexplained |= differs & lucky & np.all([answer != own for own in runs.otherwise], axis=0)
            if differs.any():
                self._max_abs = max(self._max_abs, float(np.abs(answer.astype(float) - torch32.astype(float)).max()))
        self._num_unstable += int(unexplained.sum())
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
            dtype=self._dtype,
        )
