"""Run the probes through the file and through the module, and judge."""

import time
from collections.abc import Iterator

import numpy as np
import onnx

from tasks.core import sessions
from tasks.core.errors import ModelError
from tasks.core.evidence import Evidence, ProbeRecord
from tasks.core.parity import ExactPool, FloatPool, ratio, rms
from tasks.core.precision import EPS32
from tasks.core.probes import Array, Probe
from tasks.core.verdict import Observed, Trial, judge, structural_failure
from tasks.core.witness import Witness

SMALL_OUTPUT = 64
"""Outputs with fewer elements over a family's probes get 8 more seeds: one small error may be luck."""
NUM_SEEDS = 8
MIN_PROVING_SECONDS = 20.0


def validate(trial: Trial) -> Evidence:
    """Check the file's structure, run every probe, and judge. Never raises because a number is bad."""
    started = time.perf_counter()
    trial.outputs = [Observed(value.name) for value in trial.graph.outputs]
    _check_repeatability(trial)
    _check_structure(trial)
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


def _check_structure(trial: Trial) -> None:
    try:
        onnx.checker.check_model(str(trial.graph.path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError) as error:
        trial.failures.append(f"onnx.checker finds: {' '.join(str(error).split())[:300]}")


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
            known[probe.key] = sessions.run(session, trial.inputs.arrays(probe))
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
            return
    try:
        float64 = trial.reference.float64(probe)
    except ModelError as error:
        trial.doubts.append(f"the module can't be run in float64, so its noise is unknown: {error}")
        return
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
        if probe.family in ("normal", "range", "sample"):
            onnx_outputs = [answer[index] for answer in answers]
            _observe(output, probe, onnx=onnx_outputs, torch32=torch32[index], float64=float64[index])
    _measure_movement(trial, probe)
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


def _observe(output: Observed, probe: Probe, *, onnx: list[Array], torch32: Array, float64: Array) -> None:
    """Note scale, noise, finiteness and, where it looks like class scores, agreement on the largest."""
    output.num_elements += torch32.size
    if torch32.dtype.kind != "f":
        return
    output.finite = output.finite and bool(np.isfinite(torch32).all())
    output.noise_rms.append(rms(torch32.astype(np.float64) - float64))
    output.scale_rms.append(rms(float64))
    if torch32.ndim != 2 or torch32.shape[1] < 2:
        return
    if probe.family == "sample":
        wanted = float64.argmax(axis=1)
        for answer in onnx:
            found = answer.argmax(axis=1)
            output.rows += found.size
            output.agreeing += int((found == torch32.argmax(axis=1)).sum())
            rows = np.flatnonzero(found != wanted)
            if rows.size:
                margin = float((float64[rows, wanted[rows]] - float64[rows, found[rows]]).max()) / (rms(float64) or 1.0)
                output.flip_margin = max(output.flip_margin or 0.0, margin)


def _measure_movement(trial: Trial, probe: Probe) -> None:
    """How far each output moves between two inputs: two seeds, or the rows of the user's samples."""
    first, second = trial.inputs.probes[:2]
    if probe.key == second.key:
        pairs = zip(trial.reference.float64(first), trial.reference.float64(second), strict=True)
    elif probe.family == "sample":
        answers = trial.reference.float64(probe)
        pairs = zip(answers, (np.roll(a, 1, axis=0) if a.ndim else a for a in answers), strict=True)
    else:
        return
    for output, (a, b) in zip(trial.outputs, pairs, strict=True):
        if a.shape != b.shape:
            output.movement = max(output.movement, float("inf"))
        elif a.dtype.kind != "f":
            output.movement = max(output.movement, float("inf") if (a != b).any() else 0.0)
        else:
            noise = max([*output.noise_rms, EPS32 * max(output.scale_rms, default=0.0)])
            output.movement = max(output.movement, ratio(rms(a - b), noise))


def _check_repeatability(trial: Trial) -> None:
    """f(a), f(b), f(a) must repeat; else the module keeps state or draws random numbers."""
    first = trial.inputs.probes[0]
    before = trial.reference.float32(first)
    trial.reference.float32(trial.inputs.probes[1])
    after = trial.reference.again(first)
    for output, a, b in zip(trial.outputs, before, after, strict=False):
        if a.shape != b.shape or not np.array_equal(a, b, equal_nan=a.dtype.kind == "f"):
            trial.doubts.append(
                f"{output.name} differs when the same input comes again after another: the module keeps state or "
                f"draws random numbers, so no file can be proven equal to it"
            )
            return


def _sizes(probe: Probe) -> str:
    return ", ".join(f"{name}={size}" for name, size in probe.sizes.items()) or "the fixed sizes"
