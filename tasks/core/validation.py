"""Run the probes through the file and through the module, and judge."""

import time
from collections.abc import Iterator

from tasks.core import power, sessions
from tasks.core.errors import ModelError
from tasks.core.evidence import Evidence, ProbeRecord
from tasks.core.file_checks import structural_findings
from tasks.core.parity import ExactPool, FloatPool
from tasks.core.probes import Array, Probe
from tasks.core.repeatability import unrepeatable
from tasks.core.trial import Observed, Trial
from tasks.core.verdict import judge, structural_failure
from tasks.core.witness import Witness

SMALL_OUTPUT = 64
"""Outputs with fewer elements over a family's probes get 8 more seeds: one small error may be luck."""
NUM_SEEDS = 8
MIN_PROVING_SECONDS = 20.0


def validate(trial: Trial) -> Evidence:
    """Check the file's structure, run every probe, and judge. Never raises because a number is bad."""
    started = time.perf_counter()
    names = trial.in_our_order([value.name for value in trial.graph.outputs])
    trial.outputs = [Observed(name) for name in names]
    if reason := unrepeatable(trial.reference, names):
        trial.doubts.append(reason)
    else:
        trial.failures += structural_findings(trial.graph)
    if not trial.failures and not trial.doubts:
        try:
            probes = [*trial.inputs.probes, *_sizes_beyond(trial), *_further_seeds(trial)]
            probes = [probe for probe in probes if _module_runs(trial, probe)]
            answers = _run_file(trial, probes)
            trial.witness = Witness(trial.inputs.arrays(probes[0]), tuple(answers[probes[0].key][-1]))
            for probe in _in_time(trial, probes, started):
                _compare(trial, probe, answers.pop(probe.key))
                if trial.failures or trial.doubts:
                    break
        except sessions.SessionError as error:
            trial.failures.append(f"ONNX Runtime refuses it: {error}")
    trial.reference.release()
    return judge(trial)


def _run_file(trial: Trial, probes: list[Probe]) -> dict[tuple[object, ...], list[list[Array]]]:
    """The file's answers, one an optimisation level; its sessions are gone before PyTorch runs.

    A session holds the weights, and so does float64 of a large layer: never both at once.
    """
    answers: dict[tuple[object, ...], list[list[Array]]] = {probe.key: [] for probe in probes}
    for level in ("off", "all"):
        known = {key[2]: a for key, a in trial.reference.file_answers.items() if key[:2] == (trial.graph.sha256, level)}
        missing = [probe for probe in probes if level in probe.levels and probe.key not in known]
        session = sessions.open_session(trial.graph.path, level=level) if missing else None
        for probe in missing:
            try:
                known[probe.key] = trial.in_our_order(sessions.run(session, trial.file_arrays(probe)))
            except sessions.SessionError as error:
                trial.failed_at = probe
                raise sessions.SessionError(f"at {_sizes(probe)} ({probe.family} inputs): {error}") from error
        del session
        for probe in probes:
            if level in probe.levels:
                answers[probe.key].append(known[probe.key])
    return answers


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
    num_probes = sum(p.family == first.family and not p.optional for p in trial.inputs.probes)
    if all(output.size * num_probes >= SMALL_OUTPUT for output in trial.reference.float32(first)):
        return []
    return [
        first.model_copy(update={"family": family, "seed": seed, "levels": ("all",), "optional": True})
        for seed in range(100, 100 + NUM_SEEDS)
        for family in (first.family, "wide")
    ]


def _in_time(trial: Trial, probes: list[Probe], started: float) -> Iterator[Probe]:
    """The probes that must run, then the others while there is time."""
    allowed = max(trial.graph.seconds, MIN_PROVING_SECONDS)
    for probe in sorted(probes, key=lambda probe: probe.optional):
        if not probe.optional or time.perf_counter() - started < allowed:
            yield probe
        else:
            trial.skipped.append(f"{probe.family} seed {probe.seed} at {_sizes(probe)}")


def _compare(trial: Trial, probe: Probe, answers: list[list[Array]]) -> None:
    """Add one probe to every output's pool; what is structurally wrong is a failure."""
    torch32 = trial.reference.float32(probe)
    where = f"{probe.family} at {_sizes(probe)}"
    for level_answers in answers:
        if failure := structural_failure(level_answers, torch32, [o.name for o in trial.outputs]):
            trial.failures.append(f"{failure} ({where})")
            trial.failed_at = probe
            return
    float64 = trial.reference.float64(probe)
    if any(a.shape != b.shape for a, b in zip(torch32, float64, strict=True)):
        trial.doubts.append(f"the module gives other shapes in float64 than in float32 ({where})")
        return
    perturbed = _perturbed(trial, probe)
    batch = trial.inputs.specs[0].dims[0] if trial.inputs.specs[0].dims else None
    batch_size = None if batch is None else (probe.sizes.get(batch.name or "", batch.size))
    if probe.family == "sample":
        batch_size = next(iter(trial.inputs.arrays(probe).values())).shape[0]
    for index, output in enumerate(trial.outputs):
        exact = torch32[index].dtype.kind in "iub"
        pool = output.pools.setdefault(probe.family, ExactPool(probe.family) if exact else FloatPool(probe.family))
        shape = torch32[index].shape
        pool.add(
            onnx=[answer[index] for answer in answers],
            torch32=torch32[index],
            perturbed=[answer[index] for answer in perturbed],
            float64=float64[index],
            batch_axis=0 if shape and shape[0] == batch_size else None,
        )
        if probe.family in power.JUDGED_FAMILIES:
            power.observe(output, torch32=torch32[index], float64=float64[index])
    power.measure_movement(trial, probe)
    trial.records.append(ProbeRecord(family=probe.family, seed=probe.seed, sizes=probe.sizes, levels=probe.levels))
    if probe not in trial.inputs.probes[:2]:
        trial.reference.forget(probe)


def _perturbed(trial: Trial, probe: Probe) -> list[list[Array]]:
    """Answers with perturbed weights, for the first probe of each family; more where seeds change nothing."""
    if any(record.family == probe.family for record in trial.records):
        return []
    small = any(o.size < SMALL_OUTPUT for o in trial.reference.float32(probe))
    num_runs = NUM_SEEDS if small and probe.family in ("zeros", "sample") else 2
    answers = [trial.reference.perturbed(probe, seed=seed) for seed in range(num_runs)]
    shapes = [o.shape for o in trial.reference.float32(probe)]
    return [answer for answer in answers if [o.shape for o in answer] == shapes]


def _sizes(probe: Probe) -> str:
    return ", ".join(f"{name}={size}" for name, size in probe.sizes.items()) or "the fixed sizes"
