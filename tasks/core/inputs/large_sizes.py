"""A large size of each dynamic dimension: its upper bound, else eight times the traced size, or what is affordable.

The module may treat all sizes alike, and its file yet hold a number that fits small ones only.
"""

import itertools
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.utils._pytree import tree_leaves

from tasks.core.errors import OutOfMemoryError
from tasks.core.forward.operator_mode import OperatorMode
from tasks.core.inputs.breaking_sizes import Case
from tasks.core.inputs.inputs import Inputs
from tasks.core.inputs.probes import Probe, all_sizes, base_family, batch_name, dynamic_dims, has_rows
from tasks.core.inputs.sizes import LARGE_SIZE, traced_sizes
from tasks.core.limits import (
    CHEAP_SECONDS,
    LARGE_BATCH,
    LARGE_GROWTH,
    MAX_LARGE_BYTES,
    MAX_LARGE_SECONDS,
    MAX_RUN_ELEMENTS,
)

_NUM_RUNS, _NUM_RUNS_OF_ROWS = 5.0, 2.0
"""What a probe takes as a multiple of a float32 run: the file's, to be tried, in float64; or of rows that are known."""
_CALL_SECONDS = 0.02
"""What a run takes whatever its sizes are: arguments are drawn, operators called."""
_FIRST_SEED = 60


class _Values(OperatorMode):
    """Adds up the bytes of all that operators compute, views among them."""

    num_bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: PLR0917
        computed = self.call(func, args, kwargs)
        self.num_bytes += sum(leaf.nbytes for leaf in tree_leaves(computed) if isinstance(leaf, torch.Tensor))
        return computed


class LargeSizes:
    """The search for one probe a dimension, beside what is probed anyway."""

    def __init__(self, inputs: Inputs, refusal: Callable[[Case], str]) -> None:
        """Take the inputs with all other probes, and what runs the module and says what it raises; empty: nothing."""
        self._inputs, self._refusal = inputs, refusal
        self._dims, self._traced = dynamic_dims(inputs.specs), traced_sizes(inputs.specs)
        self._batch = batch_name(inputs.specs)
        self._proven = [probe.sizes for probe in inputs.probes if probe.sizes]
        self._tried: dict[tuple[object, ...], str] = {}
        """By the key of a probe: why it is not to be run."""
        self._measured = 0.0, 0.0
        """Seconds and bytes of a run, an element of the inputs."""

    def find(self) -> tuple[tuple[Probe, ...], tuple[tuple[Probe, str], ...]]:
        """The probes, and those that are not run, each with the reason."""
        found, skipped = list[Probe](), list[tuple[Probe, str]]()
        for seed, name in enumerate(self._dims, start=_FIRST_SEED):
            reasons: list[tuple[Probe, str]] = []
            for probe, limit in self._probes(name, seed):
                if why := self._why_not(probe, limit):
                    reasons += [(probe, why)] if limit == MAX_LARGE_SECONDS else []
                else:
                    found.append(probe)
                    break
            else:
                skipped += reasons[:1]
        return tuple(found), tuple(skipped)

    def _probes(self, name: str, seed: int) -> Iterator[tuple[Probe, float]]:
        """At sizes beyond those of all other probes, each with the seconds that it may take.

        The largest that is cheap comes first, beside the largest sizes of the other dimensions with which it is.
        """
        dim, traced = self._dims[name], self._traced[name]
        reached = max(case[name] for case in self._proven)
        factors = (LARGE_GROWTH, LARGE_GROWTH // 2, LARGE_GROWTH // 4)
        usual = (LARGE_BATCH, LARGE_BATCH // 2 + 1, LARGE_BATCH // 4 + 1) if name == self._batch else ()
        sizes = {dim.high or 0, *usual, *(factor * traced + 1 for factor in factors)}
        further = [size for size in sorted(sizes, reverse=True) if reached < size <= (dim.high or size)]
        cases = [case for size in further for case in self._cases(name, size)]
        # of rows that are known the file alone runs: the largest batch is worth the second that it takes
        is_known = name == self._batch and has_rows(self._inputs.specs)
        limits = (MAX_LARGE_SECONDS,) if is_known else (CHEAP_SECONDS, MAX_LARGE_SECONDS)
        for limit, case in itertools.product(limits, cases):
            rows = self._rows(case, seed) if name == self._batch else ()
            yield Probe(family="large", seed=seed, sizes=case, optional=True, rows=rows), limit

    def _cases(self, name: str, size: int) -> list[Case]:
        least = {other: min(case[other] for case in self._proven) for other in self._dims}
        batch = {self._batch: least[self._batch]} if self._batch in least else {}
        # of pictures a part: a size that need not be proven makes a large one of the other side affordable
        sides = {n: dim.low for n, dim in self._dims.items() if self._traced[n] > LARGE_SIZE}
        part = {**least, **{n: max(low, self._traced[n] // LARGE_GROWTH | 1) for n, low in sides.items()}}
        cases = ({**self._traced, **others, name: size} for others in (batch, least, part))
        return [*{tuple(case.items()): case for case in cases}.values()]

    def _rows(self, case: Case, seed: int) -> tuple[tuple[Probe, int], ...]:
        """Rows of other probes at the same other sizes, each at least once, in no order; none: there are no such."""
        if not has_rows(self._inputs.specs):
            return ()
        family, batch = base_family(self._inputs.specs), str(self._batch)
        drawn = [probe for probe in self._inputs.probes if probe.family == family and not probe.rows]
        same = [probe for probe in drawn if {**probe.sizes, batch: case[batch]} == case]
        rows = [(probe, row) for probe in same for row in range(probe.sizes[batch])]
        generator = np.random.default_rng(seed)
        order = [*range(len(rows)), *generator.integers(len(rows), size=case[batch])] if rows else []
        return tuple(rows[int(index)] for index in generator.permutation(order[: case[batch]]))

    def _why_not(self, probe: Probe, limit: float) -> str:
        """Why a probe is not to be run within so many seconds; empty: the module takes its sizes as far as is known."""
        num_elements = self._num_elements(probe.sizes)
        seconds, num_bytes = (each * num_elements for each in self._each())
        num_runs = _NUM_RUNS_OF_ROWS if probe.rows else _NUM_RUNS
        if num_elements > MAX_RUN_ELEMENTS or num_bytes > MAX_LARGE_BYTES:
            return f"a run would compute about {num_bytes / 1e9:.1f} GB"
        if num_runs * seconds > limit:
            return f"it would take about {num_runs * seconds:.0f} s of the processor"
        if probe.rows:
            return ""  # what runs at two other batches runs at a larger one, too, else the proof leaves it out
        if probe.key not in self._tried:
            started = time.process_time()
            try:
                refused = bool(self._refusal(probe.sizes))
            except OutOfMemoryError:
                refused = True
            self._tried[probe.key] = "the module itself refuses it" if refused else ""
            seconds = num_runs * (time.process_time() - started)  # which may grow with the square of a size
            if not refused and seconds > 2 * MAX_LARGE_SECONDS:
                self._tried[probe.key] = f"it takes {seconds:.0f} s of the processor"
        return self._tried[probe.key]

    def _each(self) -> tuple[float, float]:
        """Seconds of the processor and bytes of all values, an element of the inputs, in a run at the least sizes."""
        if not self._measured[0]:
            started, values, case = time.process_time(), _Values(), min(self._proven, key=self._num_elements)
            with values:
                self._refusal(case)
            seconds = time.process_time() - started
            if seconds < CHEAP_SECONDS:  # most of which may have been that it was watched
                started = time.process_time()
                self._refusal(case)
                seconds = time.process_time() - started
            num_elements = self._num_elements(case)
            growing = max(seconds - _CALL_SECONDS, 0.1 * seconds)
            self._measured = growing / num_elements, values.num_bytes / num_elements
        return self._measured

    def _num_elements(self, case: Case) -> int:
        """Over all inputs."""
        sizes = all_sizes(self._inputs.specs, case)
        return sum(math.prod(dim.size_at(sizes) for dim in spec.dims) for spec in self._inputs.specs)
