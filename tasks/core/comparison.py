"""Hold one probe's answers against the module's, output by output."""

from collections.abc import Sequence

from tasks.core import power
from tasks.core.evidence import ProbeRecord
from tasks.core.parity import ExactPool, FloatPool
from tasks.core.probes import Array, Probe
from tasks.core.trial import Observed, Trial
from tasks.core.verdict import structural_failure

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
        if failure := structural_failure(level_answers, torch32, [o.name for o in trial.outputs]):
            trial.failures.append(f"{failure} ({where})")
            trial.failed_at = probe
            return
    float64 = trial.reference.float64(probe)
    if any(a.shape != b.shape for a, b in zip(torch32, float64, strict=True)):
        trial.doubts.append(f"the module gives other shapes in float64 than in float32 ({where})")
        return
    add(trial, probe, answers, num_perturbed=_num_perturbed(trial, probe))
    if probe.family in power.JUDGED_FAMILIES:
        for output, a, b in zip(trial.outputs, torch32, float64, strict=True):
            power.observe(output, torch32=a, float64=b)
    power.measure_movement(trial, probe)
    trial.records.append(ProbeRecord(family=probe.family, seed=probe.seed, sizes=probe.sizes, levels=probe.levels))


def add(trial: Trial, probe: Probe, answers: Sequence[list[Array]], *, num_perturbed: int) -> None:
    """Add one probe to the pools of its family."""
    torch32, float64 = trial.reference.float32(probe), trial.reference.float64(probe)
    perturbed = [trial.reference.perturbed(probe, seed=seed) for seed in range(num_perturbed)]
    perturbed = [answer for answer in perturbed if [a.shape for a in answer] == [a.shape for a in torch32]]
    batch_size = _batch_size(trial, probe)
    for index, output in enumerate(trial.outputs):
        shape = torch32[index].shape
        _pool(output, probe.family, torch32[index]).add(
            onnx=[answer[index] for answer in answers],
            torch32=torch32[index],
            perturbed=[answer[index] for answer in perturbed],
            float64=float64[index],
            batch_axis=0 if shape and shape[0] == batch_size else None,
        )


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
        return 0
    small = any(o.size < SMALL_OUTPUT for o in trial.reference.float32(probe))
    return NUM_SEEDS if small and probe.family in ("zeros", "sample") else 2
