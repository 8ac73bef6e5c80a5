"""Every value that a module computes on one probe, with the noise of float32; a file's values are looked up in it."""

import hashlib
import math
from collections.abc import Callable, Collection

import numpy as np
from numpy.typing import NDArray

from tasks.core.arrays import EPS32, Array, rms
from tasks.core.forward.precision import run_float32, run_perturbed
from tasks.core.forward.traces import Call, Trace
from tasks.core.limits import MATCHING_LIMIT, NUM_TRACED, PEAK_LIMIT, SMALL_VALUE

Record = Callable[..., Trace]
"""Calls `Receive` with each value of a module; takes, too, how to run it (else in float64, if it can), and options."""
_NUM_SAMPLES = 32


class TracedValues:
    """The values of one module on one probe, by number; float64 rounded to float32, and the noise of float32."""

    def __init__(self, record: Record) -> None:
        self.values: dict[int, Array] = {}
        self.noise: dict[int, float] = {}
        self._names: dict[int, str] = {}
        self._infinite: dict[int, Array] = {}
        self.trace = record(self._keep)
        record(self._measure, run_float32)
        for seed in range(NUM_TRACED):
            record(self._measure, run_perturbed, seed=seed)
        self._by_size: dict[tuple[bool, int], list[int]] = {}
        first_with: dict[bytes, int] = {}
        self.first_of: dict[int, int] = {}
        """By number of a value: number of the first one with the same elements, of which it is a view or a copy."""
        for number, value in self.values.items():
            digest = hashlib.blake2b(np.ascontiguousarray(value).data, digest_size=16).digest()
            self.first_of[number] = first_with.setdefault(digest, number)
            if value.size > 1 and value.any():  # zeros equal too much
                self._by_size.setdefault((is_float(value), value.size), []).append(number)
        self._samples: dict[int, NDArray[np.float64]] = {
            number: _sample(self.values[number]) for numbers in self._by_size.values() for number in numbers
        }

    def find(self, array: Array, *, limit: float) -> list[int]:
        """Numbers of the values that an array equals by its elements, whatever its shape.

        Args:
            array: of the file; elements in the same order as in the module.
            limit: noise ratio up to which values are equal.
        """
        array = finite(array)
        sample, scale = _sample(array), rms(array)
        return [
            number
            for number in self._by_size.get((is_float(array), array.size), [])
            if float(np.abs(self._samples[number] - sample).max()) <= 1e-2 * scale + 100 * self.noise[number]
            and self.ratio(array, number) <= limit
        ]

    def ratio(self, array: Array, number: int) -> float:
        """Difference of an array from a value, as a multiple of its noise; infinite for another size or other integers.

        Args:
            array: of the file.
            number: of the value.
        """
        value = self.values[number]
        if array.size != value.size or is_float(array) != is_float(value):
            return math.inf
        if not value.size:
            return 0.0
        flat, noise = value.reshape(-1), self.noise[number]
        if not is_float(value):
            return 0.0 if np.array_equal(finite(array).reshape(-1), flat) else math.inf
        difference = np.abs(finite(array).reshape(-1).astype(np.float32) - flat)
        error = float(np.sqrt(np.square(difference, dtype=np.float64).mean()))
        peak = float((difference - PEAK_LIMIT * EPS32 * np.abs(flat)).max())
        return max(error, peak * MATCHING_LIMIT / PEAK_LIMIT) / noise if noise else math.inf

    def whole(self, number: int) -> Array:
        """A value with its infinite elements."""
        return self._infinite.get(number, self.values[number])

    def is_view(self, number: int) -> bool:
        """Has a value the same elements as one that it is computed from?"""
        return self.first_of[number] in {self.first_of[other] for other in self.ancestors(number, depth=3)}

    def ancestors(self, number: int, *, depth: int) -> list[int]:
        """Numbers of the values from which a value is computed, the nearest first.

        Args:
            number: of the value.
            depth: number of operators to go back.
        """
        found: dict[int, None] = {}
        level: Collection[int] = [number]
        for _ in range(depth):
            calls = filter(None, map(self.trace.call_of, level))
            taken = (value for call in calls for value in (*call.intermediates, *call.inputs))
            level = dict.fromkeys(value for value in taken if value not in found and value in self.values)
            found |= level
        return list(found)

    def _keep(self, number: int, call: Call, value: Array) -> None:
        self.values[number] = finite(value)
        if self.values[number] is not value and not np.array_equal(self.values[number], value):
            self._infinite[number] = value
        self._names[number] = call.name
        self.noise[number] = EPS32 * rms(self.values[number]) if is_float(value) else 0.0

    def _measure(self, number: int, call: Call, value: Array) -> None:
        known = self.values.get(number)
        if known is None or not is_float(value) or self._names[number] != call.name or known.shape != value.shape:
            return  # a way that this run did not take
        error = finite(value) - known
        small = error.size < SMALL_VALUE
        self.noise[number] = max(self.noise[number], float(np.abs(error).max(initial=0.0)) if small else rms(error))


def is_float(array: Array) -> bool:
    """Are its elements subject to noise?"""
    return array.dtype.kind == "f"


def finite(array: Array) -> Array:
    """The array with numbers for NaN and infinity, which attention masks contain, say."""
    if not is_float(array) or np.isfinite(array).all():
        return array
    return np.nan_to_num(array, nan=2.0, posinf=1.0, neginf=-1.0)


def _sample(array: Array) -> NDArray[np.float64]:
    flat = array.reshape(-1)
    places = np.linspace(0, flat.size - 1, min(_NUM_SAMPLES, flat.size)).astype(np.int64)
    return flat[places].astype(np.float64)
