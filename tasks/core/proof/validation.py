"""Run the probes through the file and through the module, and judge."""

import time

from tasks.core.arrays import Array
from tasks.core.errors import ModelError
from tasks.core.inputs.probes import Probe
from tasks.core.localisation.defects import Defect
from tasks.core.localisation.search import hidden_defect, localise
from tasks.core.onnx_files.checks import structural_findings
from tasks.core.proof.comparison import NUM_SEEDS, SMALL_OUTPUT, add, compare, sizes_of
from tasks.core.proof.parity import FloatPool
from tasks.core.proof.proof import Proof
from tasks.core.proof.residual_blocks import block_powers
from tasks.core.proof.trial import Observed, Trial
from tasks.core.proof.verdict import is_wrong, judge
from tasks.core.proof.witness import Witness
from tasks.core.records.candidate import Candidate
from tasks.core.records.evidence import Evidence
from tasks.core.reference.reference import Reference
from tasks.core.runtime import sessions

Answers = dict[tuple[object, ...], list[list[Array]]]
"""By the key of a probe, the file's answer at each optimisation level."""

NUM_SECOND_RUNS = 8
"""Perturbed runs of every probe of a family before it is called wrong."""
BEYOND_LUCK = 1000.0
"""Noise ratio after which no further seeds and perturbed runs are made: they could not explain it."""
CLOSER_LOOK = 2.0
"""Noise ratio beyond which the nodes of a file that passes are looked at one by one."""
MIN_PROVING_SECONDS = 20.0


def validate(
    candidate: Candidate,
    reference: Reference,
    *,
    constant_outputs: tuple[str, ...] = (),
    random_weights: bool = False,
    notes: tuple[str, ...] = (),
    threads: int | None = None,
    keep: bool = False,
) -> Proof:
    """Check the file's structure, run every probe, and judge. Never raises because a number is bad.

    Args:
        candidate: the file.
        reference: of the module.
        constant_outputs: names of outputs that are meant not to depend on the input.
        random_weights: the module's weights are random, as the evidence then says.
        notes: what else the evidence is to say.
        threads: of ONNX Runtime, within an operator; None: as many as PyTorch has.
        keep: leave what the reference answered in memory, for another file.
    """
    trial = Trial(
        candidate.graph, reference.inputs, reference, constant_outputs,
        random_weights=random_weights, threads=threads, keep=keep, answers=candidate.answers,
        file_inputs=candidate.file_inputs, output_order=candidate.output_order,
        failures=[*candidate.failures], notes=[*notes, *candidate.notes],
    )  # fmt: skip
    names = trial.in_our_order([value.name for value in trial.graph.outputs])
    trial.outputs = [Observed(name) for name in names]
    with sessions.opening(trial.graph.path, threads=trial.threads):
        if reason := reference.unrepeatable(names):
            trial.doubts.append(reason)
        else:
            trial.failures += structural_findings(trial.graph)
        if not trial.failures and not trial.doubts:
            try:
                _run_probes(trial)
            except sessions.SessionError as error:
                trial.failures.append(f"ONNX Runtime refuses it: {error}")
    trial.blocks = block_powers(trial.reference) if len(trial.records) > 1 else []
    evidence = judge(trial)
    if evidence.verdict == "fail":
        trial.defect = localise(trial)
        evidence = judge(trial)  # with what was noted while looking
    elif evidence.verdict == "pass":
        trial.defect = _hidden_defect(trial, evidence)
        if trial.defect is not None:
            trial.failures.append(f"{trial.defect.blame.sentence}: little of it reaches the outputs on these probes")
            evidence = judge(trial)
    if not keep:
        reference.release()
    if trial.defect is not None:
        evidence = evidence.model_copy(update={"blame": trial.defect.blame})
    return Proof(evidence, trial.defect, trial.witness)


def _run_probes(trial: Trial) -> None:
    """Run the probes that must run, then the others while there is time and while they may change anything."""
    started = time.perf_counter()
    allowed = max(trial.graph.seconds, MIN_PROVING_SECONDS)
    probes = [*trial.inputs.probes, *_sizes_beyond(trial), *_further_seeds(trial)]
    probes = [probe for probe in probes if _module_runs(trial, probe)]
    required = [probe for probe in probes if not probe.optional]
    # with the optional ones, as opening the file again takes more than running it: the module is what takes time
    answers = _run_file(trial, probes)
    trial.witness = Witness(trial.inputs.arrays(required[0]), tuple(answers[required[0].key][-1]))
    done = _compared(trial, required, answers)
    optional = [probe for probe in probes if probe.optional]
    if optional and not trial.failures and not trial.doubts and not _is_beyond_luck(trial):
        for probe in optional:
            if time.perf_counter() - started < allowed:
                done += _compared(trial, [probe], answers)
            else:
                trial.skipped.append(f"{probe.family} seed {probe.seed} at {sizes_of(probe)}")
    _look_again(trial, done, answers)


def _compared(trial: Trial, probes: list[Probe], answers: Answers) -> list[Probe]:
    """Compare probe by probe until one is structurally wrong; give those that were pooled."""
    done = []
    for probe in probes:
        if trial.failures or trial.doubts:
            break
        compare(trial, probe, answers[probe.key])
        if not trial.failures and not trial.doubts:
            done.append(probe)
        if not trial.keep and probe not in trial.inputs.probes[:2]:
            trial.reference.forget(probe)
    return done


def _hidden_defect(trial: Trial, evidence: Evidence) -> Defect | None:
    """Look at the nodes one by one where the outputs are farther off than those of most true exports."""
    families = [family for output in evidence.outputs for family in output.families]
    worst = max(families, key=lambda family: family.noise_ratio)
    return hidden_defect(trial, worst.family) if worst.noise_ratio > CLOSER_LOOK else None


def _look_again(trial: Trial, probes: list[Probe], answers: Answers) -> None:
    """Call nothing wrong before its noise was measured better, family by family until one stays wrong.

    Few perturbed runs can miss what amplifies a rounding a thousandfold, such as a network far outside the
    values it was made for: a true EfficientNet-B3 has noise of 1e-4 or of 0.1 at wide inputs, as it happens.
    """
    families = [family for family in dict.fromkeys(probe.family for probe in probes) if _is_wrong(trial, family)]
    for family in families:
        for output in trial.outputs:
            output.pools.pop(family, None)
            output.items.pop(family, None)
        num_runs = NUM_SECOND_RUNS
        for probe in (probe for probe in probes if probe.family == family):
            add(trial, probe, answers[probe.key], num_perturbed=num_runs, again=True)
            num_runs = 0 if _is_beyond_luck(trial, family) else NUM_SECOND_RUNS
        if _is_wrong(trial, family):
            trial.failed_at = next(probe for probe in probes if probe.family == family)
            return


def _is_wrong(trial: Trial, family: str) -> bool:
    return any(
        is_wrong(output.pools[family].result()) or (family in output.items and output.items[family].num_unmatched)
        for output in trial.outputs
        if family in output.pools
    )


def _is_beyond_luck(trial: Trial, family: str = "") -> bool:
    """Is a family, or any, so far off that neither seeds nor perturbed runs could explain it?"""
    pools = [pool for output in trial.outputs for name, pool in output.pools.items() if family in ("", name)]
    return any(isinstance(pool, FloatPool) and not pool.result().noise_ratio < BEYOND_LUCK for pool in pools)


def _run_file(trial: Trial, probes: list[Probe]) -> Answers:
    """The file's answers, one an optimisation level; its sessions are gone before PyTorch runs.

    A session holds the weights, and so does float64 of a large layer: never both at once.
    """
    answers: dict[str, dict[tuple[object, ...], list[Array]]] = {}
    for level in ("all", "off"):  # the first is open by now
        found = {key: answer for (known_level, key), answer in trial.answers.items() if known_level == level}
        missing = [probe for probe in probes if level in probe.levels and probe.key not in found]
        for probe, answer in zip(missing, _answers_at(level, missing, trial), strict=True):
            found[probe.key] = answer
        answers[level] = {key: trial.in_our_order(answer) for key, answer in found.items()}
    in_order = ("off", "all")
    return {probe.key: [answers[level][probe.key] for level in in_order if level in probe.levels] for probe in probes}


def _answers_at(level: str, probes: list[Probe], trial: Trial) -> list[list[Array]]:
    if not probes:
        return []
    feeds = (trial.file_arrays(probe) for probe in probes)
    try:
        return sessions.answers(trial.graph.path, feeds, level=level, threads=trial.threads)
    except sessions.SessionError as error:
        if error.num_answered is None:
            raise
        probe = trial.failed_at = probes[error.num_answered]
        raise sessions.SessionError(f"at {sizes_of(probe)} ({probe.family} inputs): {error}") from error


def _sizes_beyond(trial: Trial) -> list[Probe]:
    """Probes at the sizes where an exporter's analysis says that the module takes another way."""
    first = trial.inputs.probes[0]
    return [
        first.model_copy(update={"seed": 50 + size, "sizes": {**first.sizes, name: size}, "levels": ("all",)})
        for name, sizes in trial.graph.beyond.items()
        for size in sizes
    ]


def _module_runs(trial: Trial, probe: Probe) -> bool:
    """Does the module itself run? On the planned sizes and ordinary values it must, on others it need not."""
    if probe in trial.inputs.probes and probe.family not in ("zeros", "wide"):
        return True
    try:
        trial.reference.float32(probe)
    except ModelError as error:
        trial.notes.append(f"left out: {error}")
        return False
    return True


def _further_seeds(trial: Trial) -> list[Probe]:
    """More seeds where an output is so small that one small error of torch32 may be luck."""
    first = trial.inputs.probes[0]
    num_probes = sum(p.family == first.family and not p.optional and not p.rows for p in trial.inputs.probes)
    if all(output.size * num_probes >= SMALL_OUTPUT for output in trial.reference.float32(first)):
        return []
    return [
        first.model_copy(update={"family": family, "seed": seed, "levels": ("all",), "optional": True})
        for seed in range(100, 100 + NUM_SEEDS)
        for family in (first.family, "wide")
    ]
