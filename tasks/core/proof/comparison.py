"""Hold one probe's answers against the module's, output by output."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tasks.core.arrays import Array, ratio, rms
from tasks.core.inputs.probes import Probe
from tasks.core.limits import (
    JUDGED_FAMILIES,
    LENIENT_FAMILIES,
    NUM_OTHER_CHOICES,
    NUM_PERTURBED,
    NUM_SEEDS,
    SMALL_OUTPUT,
    SUSPICIOUS_NOISE,
)
from tasks.core.proof import power
from tasks.core.proof.detections import align, shaken_runs
from tasks.core.proof.items import is_luck
from tasks.core.proof.observations import ItemCount, Observations
from tasks.core.proof.parity import ExactPool, FloatPool, OutputRuns, Runs
from tasks.core.proof.plan import Plan, perturbed_probes
from tasks.core.reference.choices import Choice
from tasks.core.reference.reference import Reference
from tasks.core.reference.structure import Group, structural_failure, without_nan

Answers = Sequence[list[Array]]
"""A file's outputs for one probe, in the module's order, one list an optimisation level."""


class Comparison:
    """Compares the answers of one file with the module's, and notes what it sees."""

    def __init__(self, plan: Plan, reference: Reference, observations: Observations) -> None:
        self._plan, self._reference, self._seen = plan, reference, observations
        self._perturbed = {probe.key for probe in perturbed_probes(plan.probes)}

    def expect(self, probes: Sequence[Probe]) -> None:
        """Prepare to compare these probes, in this order.

        Args:
            probes: those of the plan that the module takes.
        """
        perturbed = perturbed_probes(probes)
        self._perturbed = {probe.key for probe in perturbed}
        self._reference.expect(probes, perturbed)

    def compare(self, probe: Probe, answers: Answers) -> None:
        """Add one probe to every output's pool; what is structurally wrong is a failure.

        Args:
            probe: the probe.
            answers: the file's.
        """
        torch32, sized_by_data = self._reference.float32(probe), self._reference.sized_by_data
        where = f"{probe.family} at {probe.sizes_in_words}"
        names = [output.name for output in self._seen.outputs]
        answers = self._excused(probe, answers)
        left_out = self._left_out(probe, torch32, where)
        options: dict[str, Any] = {"sized_by_data": sized_by_data, "left_out": left_out}
        for level_answers in answers:
            if failure := structural_failure(level_answers, torch32, names, **options):
                self._seen.failures.append(f"{failure} ({where})")
                self._seen.failed_at = probe
                return
        pairs = enumerate(zip(torch32, self._reference.float64(probe), strict=False))
        if any(a.shape != b.shape for index, (a, b) in pairs if index not in sized_by_data):
            self._seen.doubts.append(f"the module gives other shapes in float64 than in float32 ({where})")
            return
        self.add(probe, answers, num_perturbed=self._num_perturbed(probe))
        self._note_movement(probe)
        self._seen.compared.append(probe)

    def _excused(self, probe: Probe, answers: Answers) -> Answers:
        """The file's answers, without NaN where a mask hides a row whole: that is no wrong number, and it is noted."""
        if probe.family != "masks":
            return answers
        inputs, torch32 = self._reference.inputs, self._reference.float32(probe)
        rows = inputs.masks.hidden_whole(inputs.arrays(probe))
        excused = [without_nan(answer, torch32, rows) for answer in answers]
        pairs = [
            pair for answer, other in zip(answers, excused, strict=True) for pair in zip(answer, other, strict=True)
        ]
        if any(not np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in pairs):
            self._seen.note("where a mask has one value all along a row, the file gives NaN and PyTorch does not")
        return excused

    def _left_out(self, probe: Probe, torch32: list[Array], where: str) -> Callable[[Array], Array] | None:
        """What tells the elements that say nothing: on values that a module names it may itself give NaN."""
        if probe.family not in LENIENT_FAMILIES:
            return None
        given = self._reference.inputs.arrays(probe).values()
        is_finite = all(np.isfinite(array).all() for array in given)
        left_out: Callable[[Array], Array] = np.isnan if is_finite else lambda array: ~np.isfinite(array)
        for output, array in zip(self._seen.outputs, torch32, strict=False):
            if array.dtype.kind == "f" and (num := int(left_out(array).sum())):
                said = f"{num} of {array.size} elements of {output.name} are not finite in PyTorch itself"
                self._seen.note(f"{said} ({where}), so they are left out")
        return left_out

    def add(self, probe: Probe, answers: Answers, *, num_perturbed: int, again: bool = False) -> None:
        """Add one probe to the pools of its family.

        Args:
            probe: the probe.
            answers: the file's, structurally right.
            num_perturbed: runs of the module with perturbed weights.
            again: its scale and noise were noted before.
        """
        runs = Runs(
            onnx=self._excused(probe, answers),
            torch32=self._reference.float32(probe),
            float64=self._reference.float64(probe),
            perturbed=[self._reference.perturbed(probe, seed=seed) for seed in range(num_perturbed)],
        )
        chosen = self._reference.choices(probe) if again else []
        if chosen:
            others = [self._reference.otherwise(probe, seed=seed) for seed in range(NUM_OTHER_CHOICES)]
            runs = replace(runs, otherwise=others, onnx=[_settled(a, runs.torch32, chosen) for a in answers])
        whole = [index for index in range(len(runs.torch32)) if index not in self._reference.sized_by_data]
        same, others = (
            [a for a in found if all(a[i].shape == runs.torch32[i].shape for i in whole)]
            for found in (runs.perturbed, runs.otherwise)
        )
        for index in whole:
            self._pool(probe, index, replace(runs, perturbed=same, otherwise=others).of(index), again=again)
        for group in self._reference.groups:
            self._add_items(probe, group, runs, again=again)

    def _add_items(self, probe: Probe, group: Group, runs: Runs, *, again: bool) -> None:
        """Add the items of one group, those that all runs agree on."""
        outputs = [self._seen.outputs[i] for i in group.outputs]
        may_be_luck = probe.family not in JUDGED_FAMILIES
        if may_be_luck and not again and is_luck(group, runs):
            names = ", ".join(output.name for output in outputs)
            said = f"{names} not compared at {probe.family} inputs, where PyTorch's own runs find different items"
            self._seen.note(said)
            return
        count = outputs[0].items.get(probe.family, ItemCount())
        ask = functools.partial(self._reference.shaken, probe)
        options: dict[str, Any] = {"may_be_luck": may_be_luck, "shaken": shaken_runs(group, runs, ask) if again else ()}
        aligned = align(group, self._reference.thresholds, runs, count=count, **options)
        for output in outputs:
            output.items[probe.family] = count
        for index in group.outputs:
            self._pool(probe, index, aligned[index], again=again)

    def _pool(self, probe: Probe, index: int, runs: OutputRuns, *, again: bool) -> None:
        """Add one output's values to the pool of its family."""
        output, torch32 = self._seen.outputs[index], runs.torch32
        leads_with_batch = torch32.ndim > 0 and (
            index in self._reference.sized_by_data or len(torch32) == self._reference.inputs.batch_size(probe)
        )
        kind = ExactPool if torch32.dtype.kind in "iub" else FloatPool
        pool = output.pools.setdefault(probe.family, kind(probe.family))
        runs = replace(runs, batch_axis=0 if leads_with_batch else None)
        pool.add(runs)
        if probe.family in JUDGED_FAMILIES and not again:
            output.observe(runs, probe)
            self._note_noise(probe, index, runs)

    def _note_noise(self, probe: Probe, index: int, runs: OutputRuns) -> None:
        """Where the error of float32 itself is suspiciously large, and the largest so far."""
        if index in self._reference.sized_by_data or runs.torch32.dtype.kind != "f":
            return  # items on the edge of a threshold come and go
        if probe.family in self._seen.outputs[index].not_finite:
            return  # noted as such
        off = ratio(self._seen.outputs[index].noise_rms[-1], rms(runs.float64))
        if off > max(SUSPICIOUS_NOISE, self._seen.suspicious.get(index, (0.0, probe))[0]):
            self._seen.suspicious[index] = off, probe

    def _note_movement(self, probe: Probe) -> None:
        """How far each output moves between two inputs: two seeds, or the rows of the user's samples."""
        first, second = self._plan.probes[:2]
        pair, torch32 = (
            (run(first), run(second)) if probe.key == second.key else (run(probe), power.next_rows(run(probe)))
            for run in (self._reference.float64, self._reference.float32)
        )
        if probe.key == second.key or probe.family == "sample":
            power.note_movement(
                self._seen.outputs, self._reference.groups, family=probe.family, pair=pair, torch32=torch32
            )

    def _num_perturbed(self, probe: Probe) -> int:
        """Runs with perturbed weights, at one probe of each family; more where seeds change nothing."""
        if probe.key not in self._perturbed:
            # which items are on an edge differs from probe to probe
            return NUM_PERTURBED if self._reference.groups else 0
        small = any(output.size < SMALL_OUTPUT for output in self._reference.float32(probe))
        return NUM_SEEDS if small and probe.family in ("zeros", "sample") else NUM_PERTURBED


def _settled(answer: list[Array], torch32: list[Array], choices: Sequence[Choice]) -> list[Array]:
    """A file's outputs, with the module's own indices wherever the file's choose values that are as good."""
    settled = []
    for found, wanted in zip(answer, torch32, strict=True):
        is_index = found.dtype.kind in "iu" and found.shape == wanted.shape and bool((found != wanted).any())
        own = [c for c in choices if is_index and np.array_equal(c.indices.reshape(-1), wanted.reshape(-1))]
        good = own[0].as_good(found) if own else None
        settled.append(found if good is None else np.where(good, wanted, found))
    return settled
