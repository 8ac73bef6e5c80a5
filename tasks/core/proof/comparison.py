"""Hold one probe's answers against the module's, output by output."""

from collections.abc import Sequence

from tasks.core.arrays import Array
from tasks.core.inputs.probes import Probe
from tasks.core.proof import power
from tasks.core.proof.detections import ItemCount, align, is_luck
from tasks.core.proof.parity import ExactPool, FloatPool
from tasks.core.proof.trial import Observed, Trial
from tasks.core.records.evidence import ProbeRecord
from tasks.core.reference.structure import structural_failure

SMALL_OUTPUT = 64
"""Outputs with fewer elements over a family's probes get 8 more seeds: one small error may be luck."""
NUM_SEEDS = 8


def compare(trial: Trial, probe: Probe, answers: Sequence[list[Array]]) -> None:
    """Add one probe to every output's pool; what is structurally wrong is a failure.

    Args:
        trial: gets failures, doubts, records.
        probe: the probe.
        answers: the file's, one an optimisation level.
    """
    torch32 = trial.reference.float32(probe)
    where = f"{probe.family} at {sizes_of(probe)}"
    for level_answers in answers:
        names = [output.name for output in trial.outputs]
        if failure := structural_failure(level_answers, torch32, names, sized_by_data=trial.sized_by_data):
            trial.failures.append(f"{failure} ({where})")
            trial.failed_at = probe
            return
    float64 = trial.reference.float64(probe)
    if any(torch32[i].shape != float64[i].shape for i in range(len(torch32)) if i not in trial.sized_by_data):
        trial.doubts.append(f"the module gives other shapes in float64 than in float32 ({where})")
        return
    add(trial, probe, answers, num_perturbed=_num_perturbed(trial, probe))
    power.measure_movement(trial, probe)
    trial.records.append(ProbeRecord(family=probe.family, seed=probe.seed, sizes=probe.sizes, levels=probe.levels))


def add(trial: Trial, probe: Probe, answers: Sequence[list[Array]], *, num_perturbed: int, again: bool = False) -> None:
    """Add one probe to the pools of its family; `again` where its scale and noise were already noted."""
    torch32, float64 = trial.reference.float32(probe), trial.reference.float64(probe)
    perturbed = [trial.reference.perturbed(probe, seed=seed) for seed in range(num_perturbed)]
    whole = [index for index in range(len(torch32)) if index not in trial.sized_by_data]
    same = [answer for answer in perturbed if all(answer[i].shape == torch32[i].shape for i in whole)]
    for i in whole:
        runs = [answer[i] for answer in answers], torch32[i], [answer[i] for answer in same], float64[i]
        _add_output(trial, probe, i, *runs, again=again)
    for group in trial.groups:
        outputs = [trial.outputs[i] for i in group.outputs]
        count = outputs[0].items.get(probe.family, ItemCount())
        may_be_luck = probe.family not in power.JUDGED_FAMILIES
        if may_be_luck and not again and is_luck(group, answers, torch32, [float64, *perturbed]):
            names = ", ".join(output.name for output in outputs)
            trial.note(f"{names} not compared at {probe.family} inputs, where PyTorch's own runs find different items")
            continue
        aligned = align(
            group, trial.reference.thresholds,
            onnx=answers, torch32=torch32, perturbed=perturbed, float64=float64, count=count,
            may_be_luck=may_be_luck,
        )  # fmt: skip
        for output in outputs:
            output.items[probe.family] = count
        for i in group.outputs:
            runs = aligned.onnx[i], aligned.torch32[i], aligned.perturbed[i], aligned.float64[i]
            _add_output(trial, probe, i, *runs, again=again)


def _add_output(
    trial: Trial,
    probe: Probe,
    index: int,
    onnx: list[Array],
    torch32: Array,
    perturbed: list[Array],
    float64: Array,
    *,
    again: bool,
) -> None:
    output = trial.outputs[index]
    rows = torch32.shape[0] if torch32.ndim else 0
    leads_with_batch = index in trial.sized_by_data or rows == _batch_size(trial, probe)
    _pool(output, probe.family, torch32).add(
        onnx=onnx,
        torch32=torch32,
        perturbed=perturbed,
        float64=float64,
        batch_axis=0 if torch32.ndim and leads_with_batch else None,
    )
    if probe.family in power.JUDGED_FAMILIES and not again:
        power.observe(output, torch32=torch32, float64=float64)
        output.metrics.add(onnx=onnx, torch32=torch32, float64=float64)


def sizes_of(probe: Probe) -> str:
    """The sizes of a probe in words."""
    return ", ".join(f"{name}={size}" for name, size in probe.sizes.items()) or "the fixed sizes"


def _pool(output: Observed, family: str, torch32: Array) -> FloatPool | ExactPool:
    kind = ExactPool if torch32.dtype.kind in "iub" else FloatPool
    return output.pools.setdefault(family, kind(family))


def _batch_size(trial: Trial, probe: Probe) -> int | None:
    if probe.family == "sample":
        return int(next(iter(trial.inputs.arrays(probe).values())).shape[0])
    dims = trial.inputs.specs[0].dims
    return probe.sizes.get(dims[0].name or "", dims[0].size) if dims else None


def _num_perturbed(trial: Trial, probe: Probe) -> int:
    """Runs with perturbed weights at the first probe of each family; more where seeds change nothing."""
    if any(record.family == probe.family for record in trial.records):
        return 2 if trial.groups else 0  # which items are on an edge differs from probe to probe
    small = any(o.size < SMALL_OUTPUT for o in trial.reference.float32(probe))
    return NUM_SEEDS if small and probe.family in ("zeros", "sample") else 2
