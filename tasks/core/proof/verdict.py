"""What is gathered about a file, the limits, and the verdict that follows."""

from collections.abc import Iterator

from tasks.core.proof.detections import ItemCount
from tasks.core.proof.dynamic_dims import dims_held_equal, prove_dims
from tasks.core.proof.power import JUDGED_FAMILIES, MOVEMENT_LIMIT, doubts_of
from tasks.core.proof.residual_blocks import doubts_of_blocks, notes_of_blocks
from tasks.core.proof.trial import Observed, Trial
from tasks.core.records.evidence import Detections, Evidence, FamilyParity, OutputEvidence, Power

NOISE_LIMIT = 8.0
"""Of the pooled noise ratio: true exports gave up to 4, wrong constants thousands."""
SLICE_LIMIT = 16.0
"""Of the ratio of one slice, which pools fewer elements."""
EXCUSED_LIMIT = 0.1
"""Share of a detector's items that could not be compared, above which nothing can be said."""
UNSTABLE_LIMIT = 0.01
"""Share of integers that torch32 itself gets wrong, above which nothing can be said."""


def judge(trial: Trial) -> Evidence:
    """Turn what was gathered into a verdict; a failure outweighs a doubt."""
    failures, doubts = list(trial.failures), [*trial.doubts, *trial.graph.doubts]
    outputs = [_summarise(output) for output in trial.outputs] if trial.records else []
    for output, observed in zip(outputs, trial.outputs, strict=False):
        failures += [*_unmatched(observed), *_failures_of(output)]
        doubts += [*doubts_of(output, trial.constant_outputs), *_uncompared(observed), *_instabilities_of(output)]
    dims = prove_dims(trial)
    failures += [f"{d.name} of {d.input} was to be dynamic but is fixed in the file" for d in dims if not d.in_file]
    doubts += doubts_of_blocks(trial.blocks)
    notes = [*trial.notes, *dims_held_equal(trial), *notes_of_blocks(trial.blocks)]
    if not failures and trial.records:
        doubts += [f"{d.name} of {d.input} was run at one size only" for d in dims if len(set(d.sizes)) < 2]
    return Evidence(
        verdict="fail" if failures else "inconclusive" if doubts else "pass",
        reasons=tuple(dict.fromkeys(failures or doubts)),
        outputs=tuple(outputs),
        dims=tuple(dims),
        probes=tuple(trial.records),
        skipped=tuple(trial.skipped),
        blocks=tuple(trial.blocks),
        notes=tuple(notes),
        floor=trial.reference.floor,
        noise_limit=NOISE_LIMIT,
        slice_limit=SLICE_LIMIT,
        movement_limit=MOVEMENT_LIMIT,
        random_weights=trial.random_weights,
    )


def _summarise(output: Observed) -> OutputEvidence:
    families = tuple(pool.result() for pool in output.pools.values())
    return OutputEvidence(
        name=output.name,
        noise_ratio=_worst([f.noise_ratio for f in families]),
        slice_ratio=_worst([f.slice_ratio for f in families]),
        max_abs_difference=_worst([f.max_abs_difference for f in families]),
        cosine=min((f.cosine for f in families), default=1.0),
        families=families,
        power=Power(
            movement=_worst(list(output.movements.values())),
            families=output.movements,
            finite=output.finite,
            num_elements=output.num_elements,
            zero_share=output.num_zeros / max(output.num_elements, 1),
            saturated_share=output.still_share if output.movements else 0.0,
        ),
        detections=_detections(list(output.items.values())) if output.items else None,
        **({} if output.items else output.metrics.result()),
    )


def _detections(counts: list[ItemCount]) -> Detections:
    return Detections(
        num_reference=sum(count.num_reference for count in counts),
        num_matched=sum(count.num_matched for count in counts),
        num_excused=sum(count.num_excused for count in counts),
        num_unmatched=sum(count.num_unmatched for count in counts),
        lowest_iou=min(count.lowest_iou for count in counts),
    )


def is_wrong(family: FamilyParity) -> bool:
    """Is its error beyond a limit? NaN is."""
    return not (family.noise_ratio <= NOISE_LIMIT and family.slice_ratio <= SLICE_LIMIT)


def _unmatched(output: Observed) -> Iterator[str]:
    """The same sentence for each output that describes these items."""
    for family, count in output.items.items():
        if count.num_unmatched:
            yield (
                f"{count.num_unmatched} of {count.num_reference} detected items have no partner of their class and "
                f"place ({family}; {count.first_unmatched})"
            )


def _failures_of(output: OutputEvidence) -> Iterator[str]:
    for family in output.families:
        if not family.noise_ratio <= NOISE_LIMIT:
            yield (
                f"{output.name} is off by {family.noise_ratio:.3g} times the noise of float32 "
                f"({family.family}; limit {NOISE_LIMIT:g})"
            )
        elif not family.slice_ratio <= SLICE_LIMIT:
            yield (
                f"{output.name} at {family.worst_slice} is off by {family.slice_ratio:.3g} times the noise of float32 "
                f"({family.family}; limit {SLICE_LIMIT:g})"
            )


def _uncompared(observed: Observed) -> Iterator[str]:
    """Of judged families only: on a blank or a glaring picture a sound detector may say anything."""
    counts = [count for family, count in observed.items.items() if family in JUDGED_FAMILIES]
    num_items, num_matched = sum(c.num_reference for c in counts), sum(c.num_matched for c in counts)
    if num_items - num_matched > EXCUSED_LIMIT * num_items:
        yield (
            f"only {num_matched} of {num_items} detected items could be compared: on the others "
            f"PyTorch's own runs disagree; give real inputs with --sample"
        )


def _instabilities_of(output: OutputEvidence) -> Iterator[str]:
    for family in output.families:
        if not family.unstable_share <= UNSTABLE_LIMIT:
            yield f"{family.unstable_share:.1%} of {output.name} differ between float32 and float64 ({family.family})"


def _worst(values: list[float]) -> float:
    """The largest; NaN counts as larger than all."""
    return max(values, key=lambda v: float("inf") if v != v else v, default=0.0)
