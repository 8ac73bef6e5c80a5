"""Could the probes have seen a difference? An output that is dead or saturated proves nothing."""

from collections.abc import Iterator

import numpy as np

from tasks.core.arrays import EPS32, Array, ratio, rms
from tasks.core.inputs.probes import Probe
from tasks.core.proof.trial import Observed, Trial
from tasks.core.records.evidence import OutputEvidence

JUDGED_FAMILIES = ("normal", "range", "sample")
"""Zeros and wide inputs may silence or saturate a sound model."""
MOVEMENT_LIMIT = 100.0
"""An output must move with its input by this many times the noise for a comparison to mean something."""
SATURATION_LIMIT = 0.99
"""Share of elements that stay at an extreme whatever the input, above which too little is compared."""


def observe(output: Observed, *, torch32: Array, float64: Array) -> None:
    """Note scale, noise, zeros and finiteness of one answer of a judged family."""
    output.num_elements += torch32.size
    may_be_zero = torch32.dtype.kind != "f" and output.items  # a class of detected items
    output.num_zeros += 0 if may_be_zero else int(np.count_nonzero(torch32 == 0))
    if torch32.dtype.kind == "f":
        output.finite = output.finite and bool(np.isfinite(torch32).all())
        output.noise_rms.append(rms(torch32.astype(np.float64) - float64))
        output.scale_rms.append(rms(float64))


def measure_movement(trial: Trial, probe: Probe) -> None:
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
        output.movements[probe.family] = max(output.movements.get(probe.family, 0.0), _movement(output, a, b))
        output.still_share = min(output.still_share, _still_share(a, b))
    for group in trial.groups:  # a detector of one class gives it always, but not for the same items
        movements = [trial.outputs[index].movements for index in group.outputs]
        most = max(movement[probe.family] for movement in movements)
        if group.labels is not None:
            trial.outputs[group.labels].movements[probe.family] = most


def doubts_of(output: OutputEvidence, constant_outputs: tuple[str, ...]) -> Iterator[str]:
    """Why a comparison of this output proves nothing."""
    power, name = output.power, output.name
    families = " and ".join(power.families) or "any"
    if power.num_elements == 0 and output.detections is not None and output.detections.num_reference:
        return  # there are items, and none that all runs agree on: that is said elsewhere
    if power.num_elements == 0:
        yield f"{name} is empty on every probe ({families}); give inputs on which it is not with --sample"
    elif not power.finite:
        yield f"{name} is not finite in PyTorch itself"
    elif name in constant_outputs:
        return
    elif power.zero_share == 1.0:
        yield (
            f"{name} is exactly zero on every probe ({families}), so any file that gives zeros would agree; "
            f"give trained weights, --weights random, or --constant-output {name} if it is meant so"
        )
    elif not power.movement >= MOVEMENT_LIMIT:
        yield (
            f"{name} moves with the input by only {power.movement:.3g} times the noise ({families}), so a comparison "
            f"proves nothing; give real inputs with --sample, or --constant-output {name} if it is meant so"
        )
    elif power.saturated_share > SATURATION_LIMIT:
        yield (
            f"{name} is saturated: {power.saturated_share:.1%} of it stay at its largest or smallest value whatever "
            f"the input ({families}), so only the rest was compared; give real inputs with --sample"
        )


def _movement(output: Observed, a: Array, b: Array) -> float:
    if a.shape != b.shape:
        return float("inf")
    if a.dtype.kind != "f":
        return float("inf") if (a != b).any() else 0.0
    noise = max([*output.noise_rms, EPS32 * max(output.scale_rms, default=0.0)])
    return ratio(rms(a - b), noise)


def _still_share(a: Array, b: Array) -> float:
    if a.shape != b.shape or not a.size or a.dtype.kind != "f":
        return 0.0
    # float32 is what saturates: in float64 a sigmoid of 20 is not yet 1
    a, b = a.astype(np.float32), b.astype(np.float32)
    return float(np.mean((a == b) & ((a == a.max()) | (a == a.min()))))
