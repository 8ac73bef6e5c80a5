"""Run the probes of a plan through the file and through the module, and note what is seen."""

import time

from tasks.core.arrays import Array
from tasks.core.errors import ModelError
from tasks.core.inputs.probes import Probe
from tasks.core.limits import (
    BEYOND_LUCK,
    JUDGED_FAMILIES,
    LENIENT_FAMILIES,
    MIN_PROVING_SECONDS,
    NUM_SECOND_RUNS,
    UNSTABLE_LIMIT,
)
from tasks.core.progress import Progress
from tasks.core.proof.comparison import Comparison
from tasks.core.proof.observations import Observations
from tasks.core.proof.parity import FloatPool
from tasks.core.proof.plan import Plan
from tasks.core.proof.verdict import is_wrong
from tasks.core.records.steps import FileAnswers, ProbeKey
from tasks.core.reference.reference import Reference
from tasks.core.runtime import sessions
from tasks.core.runtime.passes import LEVELS


class ProbeRun:
    """One file's run: first the file on all probes, then the module, probe by probe."""

    def __init__(
        self, plan: Plan, reference: Reference, observations: Observations, *, known: FileAnswers, keep: bool
    ) -> None:
        """Prepare a run that does not ask for what the file answered before; `keep` the module's answers in memory."""
        self._plan, self._reference, self._seen = plan, reference, observations
        self._known, self._keep = known, keep
        self._comparison = Comparison(plan, reference, observations)
        self._answers: dict[ProbeKey, list[list[Array]]] = {}
        """By the key of a probe: the file's outputs in the module's order, at each optimisation level."""

    def run(self) -> None:
        """Run the probes that must run, then the others while there is time and while they may change anything.

        Raises:
            SessionError: ONNX Runtime refuses the file or an input.
        """
        started = time.perf_counter()
        allowed = max(self._plan.graph.seconds, MIN_PROVING_SECONDS)
        probes = [probe for probe in self._plan.probes if self._module_runs(probe)]
        # with the optional ones, as opening the file again takes more than running it: the module is what takes time
        self._run_file(probes)
        self._comparison.expect(probes)
        self._progress = Progress("probe {done:.0f} of at most {total:.0f}", len(probes))
        for probe in (probe for probe in probes if not probe.optional):
            self._compare(probe)
        if self._is_beyond_luck():
            self._look_again()
        is_hopeless = self._is_beyond_luck()
        for probe in (probe for probe in probes if probe.optional):
            if is_hopeless or time.perf_counter() - started >= allowed:
                why = "the probes before were far off" if is_hopeless else "proving took too long"
                self._seen.skipped.append((probe, why))
            else:
                self._compare(probe)
        if not is_hopeless:
            self._look_again()

    def _module_runs(self, probe: Probe) -> bool:
        """Does the module itself run? On the planned sizes and ordinary values it must, on others it need not.

        Nor need it be within the range of half precision, beyond which a file that computes in float32 is better.
        """
        is_planned = probe in self._reference.inputs.probes and not probe.optional
        if is_planned and probe.family not in ("zeros", "wide", *LENIENT_FAMILIES):
            return True
        try:
            self._reference.float32(probe)
        except ModelError as error:
            self._seen.notes.append(f"left out: {error}")
            self._seen.skipped.append((probe, "the module itself refuses it"))
            return False
        if name := self._reference.overflown(probe):
            why = "overflows half precision in PyTorch itself"
            self._seen.note(f"left out: {probe.family} inputs on which {name} {why}")
            self._seen.skipped.append((probe, f"{name} {why}"))
            return False
        return True

    def _run_file(self, probes: list[Probe]) -> None:
        """Ask for the file's answers, level by level; its sessions are gone before PyTorch runs.

        A session holds the weights, and so does float64 of a large layer: never both at once.
        """
        found = dict(self._known)
        for level in reversed(LEVELS):  # the first is open by now
            asked = (probe for probe in probes if level in self._plan.levels_of(probe))
            missing = [probe for probe in asked if (level, probe.key) not in found]
            for probe, answer in zip(missing, self._answers_at(level, missing), strict=True):
                found[level, probe.key] = answer
        for probe in probes:
            at_levels = [found[level, probe.key] for level in LEVELS if level in self._plan.levels_of(probe)]
            self._answers[probe.key] = [self._plan.in_our_order(answer) for answer in at_levels]
            if probe is self._plan.probes[0]:
                self._seen.first_answer = tuple(at_levels[-1])

    def _answers_at(self, level: str, probes: list[Probe]) -> list[list[Array]]:
        if not probes:
            return []
        feeds = (self._plan.feeds(self._reference.inputs.arrays(probe)) for probe in probes)
        try:
            return sessions.answers(self._plan.graph.path, feeds, level=level, threads=self._plan.threads)
        except sessions.SessionError as error:
            if error.num_answered is None:
                raise
            probe = self._seen.failed_at = probes[error.num_answered]
            where = f"at {probe.sizes_in_words} ({probe.family} inputs)"
            raise sessions.SessionError(f"{where}: {error}") from error

    def _compare(self, probe: Probe) -> None:
        if self._seen.failures or self._seen.doubts:
            return  # no further probe can change that
        self._comparison.compare(probe, self._answers[probe.key])
        self._progress.advance()
        if not self._keep and probe not in self._plan.probes[:2]:
            self._reference.forget(probe)

    def _look_again(self) -> None:
        """Call nothing wrong before its noise was measured better, family by family until one stays wrong.

        Few perturbed runs can miss what amplifies a rounding a thousandfold, such as a network far outside the
        values it was made for: a true EfficientNet-B3 has noise of 1e-4 or of 0.1 at wide inputs, as it happens.
        """
        compared = self._seen.compared
        families = dict.fromkeys(probe.family for probe in compared)
        for family in [f for f in families if self._is_wrong(f) or self._is_unclear(f)]:
            for output in self._seen.outputs:
                output.pools.pop(family, None)
                output.items.pop(family, None)
            num_runs = NUM_SECOND_RUNS
            for probe in (probe for probe in compared if probe.family == family):
                self._comparison.add(probe, self._answers[probe.key], num_perturbed=num_runs, again=True)
                num_runs = 0 if self._is_beyond_luck(family) else NUM_SECOND_RUNS
            if self._is_wrong(family):
                self._seen.failed_at = next(probe for probe in compared if probe.family == family)
                return

    def _is_wrong(self, family: str) -> bool:
        return any(
            is_wrong(output.pools[family].result()) or (family in output.items and output.items[family].num_unmatched)
            for output in self._seen.outputs
            if family in output.pools
        )

    def _is_unclear(self, family: str) -> bool:
        """Do the module's own runs differ so much that choices among nearly equal values must have fallen otherwise?"""
        pools = [output.pools[family] for output in self._seen.outputs if family in output.pools]
        differ = any(
            pool.jumps if isinstance(pool, FloatPool) else not pool.result().unstable_share <= UNSTABLE_LIMIT
            for pool in pools
        )
        if not differ or family not in JUDGED_FAMILIES or self._reference.groups:
            return False
        return bool(self._reference.choices(next(p for p in self._seen.compared if p.family == family)))

    def _is_beyond_luck(self, family: str = "") -> bool:
        """Is a family, or any, so far off that neither seeds nor perturbed runs could explain it?"""
        pools = [pool for output in self._seen.outputs for name, pool in output.pools.items() if family in ("", name)]
        return any(isinstance(pool, FloatPool) and not pool.result().noise_ratio < BEYOND_LUCK for pool in pools)
