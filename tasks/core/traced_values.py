"""Every value that a module computes on one probe, with its noise; to find a file's values among them."""

from collections.abc import Collection, Iterable

import numpy as np
from numpy.typing import NDArray

from tasks.core.parity import rms
from tasks.core.precision import EPS32, run_float32, run_float64, run_perturbed
from tasks.core.probes import Array, Probe
from tasks.core.reference import Reference
from tasks.core.tracing import Call, Trace, trace

MATCHING_LIMIT = 24.0
"""Noise ratio up to which a value is the same; three times the verdict's limit, as one probe is not pooled."""
_NUM_SAMPLES = 32


class TracedValues:
    """The values of one module on one probe, by number; float64 rounded to float32, and the noise of float32."""

    def __init__(self, reference: Reference, probe: Probe) -> None:
        self.values: dict[int, Array] = {}
        self.noise: dict[int, float] = {}
        self._names: dict[int, str] = {}
        args, kwargs = reference.inputs.arguments(reference.inputs.arrays(probe))
        self.trace: Trace = trace(reference.model, args, kwargs, run=run_float64, receive=self._keep)
        for run in (run_float32, _perturbed):
            trace(reference.model, args, kwargs, run=run, receive=self._measure)
        self._by_size: dict[int, list[int]] = {}
        for number, value in self.values.items():
            if value.dtype.kind == "f" and value.size > 1 and float(np.ptp(value)) > 0:
                self._by_size.setdefault(value.size, []).append(number)
        self._samples: dict[int, NDArray[np.float64]] = {
            number: _sample(self.values[number]) for numbers in self._by_size.values() for number in numbers
        }

    def find(self, array: Array, preferred: Iterable[int] = ()) -> list[int]:
        """Numbers of the values that an array is, whatever its shape; the elements must come in the same order."""
        if array.dtype.kind != "f" or array.size not in self._by_size:
            return []
        sample, scale = _sample(array), rms(array)
        near = [
            number
            for number in self._by_size[array.size]
            if float(np.abs(self._samples[number] - sample).max()) <= 1e-2 * scale + 100 * self.noise[number]
        ]
        del preferred
        return [number for number in near if self.ratio(array, number) <= MATCHING_LIMIT]

    def ratio(self, array: Array, number: int) -> float:
        """How far an array is from a value, as a multiple of its noise; infinite for another size, or NaN."""
        value = self.values[number]
        if array.size != value.size or array.dtype.kind != "f":
            return float("inf")
        difference = array.reshape(-1).astype(np.float32) - value.reshape(-1)
        error = float(np.sqrt(np.square(difference, dtype=np.float64).mean()))
        return error / self.noise[number] if error == error and self.noise[number] else float("inf")

    def call_of(self, number: int) -> Call | None:
        """The operator that gave a value."""
        return self.trace.call_of(number)

    def ancestors(self, number: int, *, depth: int) -> list[int]:
        """Values that a value is computed from, the nearest first."""
        found: dict[int, None] = {}
        level: Collection[int] = [number]
        for _ in range(depth):
            following: dict[int, None] = {}
            for value in level:
                call = self.trace.call_of(value)
                for taken in (*call.parts, *call.inputs) if call is not None else ():
                    if taken not in found and taken in self.values:
                        following[taken] = None
            found |= following
            level = following
        return list(found)

    def _keep(self, number: int, call: Call, value: Array) -> None:
        self.values[number] = value
        self._names[number] = call.name
        self.noise[number] = EPS32 * rms(value) if value.dtype.kind == "f" else 0.0

    def _measure(self, number: int, call: Call, value: Array) -> None:
        known = self.values.get(number)
        if known is not None and self._names[number] == call.name and known.shape == value.shape:
            if value.dtype.kind == "f":
                self.noise[number] = max(self.noise[number], rms(value - known))


def _perturbed(model: object, args: object, kwargs: object) -> object:
    return run_perturbed(model, args, kwargs, seed=0)  # type: ignore[arg-type]  # as `trace` calls it


def _sample(array: Array) -> NDArray[np.float64]:
    flat = array.reshape(-1)
    places = np.linspace(0, flat.size - 1, min(_NUM_SAMPLES, flat.size)).astype(np.int64)
    return flat[places].astype(np.float64)
