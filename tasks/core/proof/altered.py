"""Does a file compute with a constant that should be a weight of the module, and has other elements?

What that would change in the module's answers is known: it is run with the constant in the weight's place. How much of
it is in what the file's answers are off by tells, however small it is beside the noise of one element.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from tasks.core.accounting.account import Altered
from tasks.core.arrays import Array, eps_of, error_of, rms
from tasks.core.errors import ModelError
from tasks.core.inputs.probes import Probe
from tasks.core.limits import CHANCE_LIMIT, LENIENT_FAMILIES, MAX_ALTERED_PROBES, NUM_SECOND_RUNS, SHARE_LIMIT, VISIBLE
from tasks.core.proof.plan import Plan
from tasks.core.reference.reference import Reference
from tasks.core.runtime import sessions

_FACTORS = (1.0, 30.0, 1e3, 3e4)
"""A change is multiplied by these until it is seen above the noise."""


class FileErrors:
    """What a file's answers to a few probes are off by, in units of the noise of each output."""

    def __init__(self, plan: Plan, reference: Reference, probes: Sequence[Probe]) -> None:
        """Take the probes at which the file was right; those of the first one's sizes count, a few of them."""
        sizes = plan.probes[0].sizes
        same = [probe for probe in probes if probe.sizes == sizes and probe.family not in LENIENT_FAMILIES]
        self._probes, self._reference = same[:MAX_ALTERED_PROBES], reference
        feeds = [plan.feeds(reference.inputs.arrays(probe)) for probe in self._probes]
        found = sessions.answers(plan.graph.path, feeds, threads=plan.threads) if feeds else []
        self._file = self._errors([plan.in_our_order(answer) for answer in found], reference.float64)
        self._runs = [self._errors(map(reference.float32, self._probes), reference.float64)]
        for seed in range(NUM_SECOND_RUNS):
            runs = [reference.perturbed(probe, seed=seed) for probe in self._probes]
            self._runs.append(self._errors(runs, reference.float64))

    def computes_with(self, altered: Altered) -> bool | None:
        """Is what a constant changes in the file's answers? No: something makes up for it; None: noise hides it."""
        for factor in _FACTORS:
            change = factor * altered.change
            try:
                answers = [self._reference.substituted(p, place=altered.place, change=change) for p in self._probes]
                moved = self._errors(answers, self._reference.float32)
            except (ModelError, ValueError):  # the module may refuse what was put in, or give other shapes
                return None
            if rms(moved) >= VISIBLE:
                share, *by_chance = (factor * float(e @ moved / (moved @ moved)) for e in (self._file, *self._runs))
                spread = rms(np.array(by_chance))
                if share > max(SHARE_LIMIT, CHANCE_LIMIT * spread):
                    return True
                return False if spread <= SHARE_LIMIT / CHANCE_LIMIT and abs(share) <= SHARE_LIMIT else None
        return None

    def _errors(self, answers: Iterable[list[Array]], exact: Callable[[Probe], list[Array]]) -> Array:
        """Differences of all elements of outputs of floats; of no finite number there is none."""
        parts = [np.zeros(0)]
        for probe, answer in zip(self._probes, answers, strict=True):
            torch32, float64 = self._reference.float32(probe), self._reference.float64(probe)
            for index, (found, wanted) in enumerate(zip(answer, exact(probe), strict=True)):
                if found.dtype.kind != "f" or index in self._reference.sized_by_data:
                    continue
                noise = rms(error_of(torch32[index], float64[index]))
                unit = max(noise, eps_of(torch32[index].dtype) * rms(float64[index])) or 1.0
                difference = np.subtract(found, wanted, dtype=np.float64).reshape(-1) / unit
                parts.append(np.where(np.isfinite(difference), difference, 0.0))
        return np.concatenate(parts)
