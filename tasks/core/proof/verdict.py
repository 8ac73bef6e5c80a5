"""The verdict that follows from what was seen: arithmetic and limits, nothing is run here."""

from collections.abc import Iterator, Sequence

from tasks.core.arrays import worst
from tasks.core.inputs.probes import Probe, all_sizes
from tasks.core.limits import (
    JUDGED_FAMILIES,
    MAX_LEVELS_BYTES,
    MOVEMENT_LIMIT,
    NOISE_LIMIT,
    SLICE_LIMIT,
    UNSTABLE_LIMIT,
)
from tasks.core.proof.observations import ItemCount, Observations, Observed
from tasks.core.proof.plan import Plan
from tasks.core.proof.power import doubts_of, doubts_of_blocks, notes_of, notes_of_blocks
from tasks.core.records.evidence import Detections, DimProof, Evidence, FamilyParity, OutputEvidence, Power, ProbeRecord
from tasks.core.spec.input_spec import InputSpec


def judge(plan: Plan, seen: Observations) -> Evidence:
    """Turn what was seen into a verdict; a failure outweighs a doubt, and no pass is given by default.

    Args:
        plan: what was to be run.
        seen: what was, and what came of it.
    """
    outputs = [_summarise(output) for output in seen.outputs] if seen.compared else []
    dims = _prove_dims(plan, seen.compared)
    failures, doubts, notes = [*seen.failures], [*seen.doubts, *plan.doubts], [*seen.notes]
    if plan.graph.size_bytes > MAX_LEVELS_BYTES:
        notes.append("not run at optimisation levels basic and extended: opening so large a file takes too long")
    for output, observed in zip(outputs, seen.outputs, strict=False):
        failures += _failures_of(output, observed)
        doubts += doubts_of(output, observed, plan.constant_outputs)
        doubts += [
            f"{family.unstable_share:.1%} of {output.name} hang on a rounding: PyTorch's own runs differ there, too "
            f"({family.family}); give real inputs with --sample"
            for family in output.families
            if family.family in JUDGED_FAMILIES and not family.unstable_share <= UNSTABLE_LIMIT
        ]
        notes += notes_of(output, observed)
    failures += [f"{d.name} of {d.input} was to be dynamic but is fixed in the file" for d in dims if not d.in_file]
    doubts += doubts_of_blocks(seen.blocks)
    if seen.compared:
        doubts += [f"{d.name} of {d.input} was run at one size only{_way_out(d)}" for d in dims if len({*d.sizes}) < 2]
    if not failures and not doubts:
        doubts += _not_run(plan, seen)
        doubts += _unexercised(seen)
    if failures and plan.graph.remedy:
        failures.append(plan.graph.remedy)
    return Evidence(
        verdict="fail" if failures else "inconclusive" if doubts else "pass",
        reasons=tuple(dict.fromkeys(failures or doubts)),
        outputs=tuple(outputs),
        dims=tuple(dims),
        probes=tuple(
            ProbeRecord(family=probe.family, seed=probe.seed, sizes=probe.sizes, levels=plan.levels_of(probe))
            for probe in seen.compared
        ),
        skipped=tuple(f"{p.family} seed {p.seed} at {p.sizes_in_words}: {why}" for p, why in seen.skipped),
        blocks=tuple(seen.blocks),
        coverage=seen.coverage,
        notes=(*notes, *_dims_held_equal(plan), *notes_of_blocks(seen.blocks)),
        floor=seen.floor,
        noise_limit=NOISE_LIMIT,
        slice_limit=SLICE_LIMIT,
        movement_limit=MOVEMENT_LIMIT,
        random_weights=plan.random_weights,
    )


def _way_out(dim: DimProof) -> str:
    """What to declare instead of a dimension of which the module takes no other size."""
    if not dim.refused_by_model:
        return ""
    refused = ", ".join(map(str, dim.refused_by_model))
    return (
        f", as the model refuses {refused}; declare it as a number, or as a sum or multiple of others (NAME=past+new)"
    )


def is_wrong(family: FamilyParity) -> bool:
    """Is its error beyond a limit? NaN is."""
    return not (family.noise_ratio <= NOISE_LIMIT and family.slice_ratio <= SLICE_LIMIT)


def _summarise(output: Observed) -> OutputEvidence:
    families = tuple(pool.result() for pool in output.pools.values())
    judged = [f for f in output.movements if f in JUDGED_FAMILIES]
    movements = {
        f: output.movements[f] for f in judged if f not in output.not_finite or {*judged} <= {*output.not_finite}
    }
    return OutputEvidence(
        name=output.name,
        noise_ratio=worst(f.noise_ratio for f in families),
        slice_ratio=worst(f.slice_ratio for f in families),
        max_abs_difference=worst(f.max_abs_difference for f in families),
        cosine=min((f.cosine for f in families), default=1.0),
        families=families,
        power=Power(
            movement=worst(movements.values()),
            families=movements,
            finite=not output.not_finite,
            num_elements=output.num_elements,
            zero_share=output.num_zeros / max(output.num_elements, 1),
            saturated_share=output.still_share if movements else 0.0,
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


def _failures_of(output: OutputEvidence, observed: Observed) -> Iterator[str]:
    for name, count in observed.items.items():  # the same sentence for each output that describes these items
        if count.num_unmatched:
            yield (
                f"{count.num_unmatched} of {count.num_reference} detected items have no partner of their class and "
                f"place ({name}; {count.first_unmatched})"
            )
    for family in output.families:
        if family.is_exact:
            if family.mismatched_share:
                yield f"{family.mismatched_share:.2%} of {output.name} are not what PyTorch gives ({family.family})"
        elif not family.noise_ratio <= NOISE_LIMIT:
            yield (
                f"{output.name} is off by {family.noise_ratio:.3g} times the noise of {family.dtype} "
                f"({family.family}; limit {NOISE_LIMIT:g})"
            )
        elif not family.slice_ratio <= SLICE_LIMIT:
            yield (
                f"{output.name} at {family.worst_slice} is off by {family.slice_ratio:.3g} times the noise of "
                f"{family.dtype} ({family.family}; limit {SLICE_LIMIT:g})"
            )


def _unexercised(seen: Observations) -> Iterator[str]:
    """A pass leaves no element of a weight that is neither in the file nor exercised."""
    for weight in seen.coverage.missing if seen.coverage else ():
        if weight.num_unexercised:
            here = f" ({weight.constant} has others)" if weight.constant else ""
            why = "no answer shows which it computes with" if weight.constant else "no probe depends on them"
            yield (
                f"{weight.num_unexercised:,} of {weight.num_elements:,} elements of {weight.name}, the first at "
                f"{list(weight.first)}, are in no constant of the file{here}, and {why}; give inputs that show it with "
                f"--sample, or a wider range"
            )


def _not_run(plan: Plan, seen: Observations) -> Iterator[str]:
    """A pass leaves no planned probe that was neither compared nor skipped for a reason."""
    known = {probe.key for probe in (*seen.compared, *(probe for probe, _ in seen.skipped))}
    if lost := [probe for probe in plan.probes if probe.key not in known]:
        shown = f"{lost[0].family} inputs at {lost[0].sizes_in_words}"
        yield f"{len(lost)} of {len(plan.probes)} planned probes were not run, the first of them {shown}"
    if not seen.compared or not seen.outputs:
        yield "nothing was compared"


def _prove_dims(plan: Plan, compared: Sequence[Probe]) -> list[DimProof]:
    """One proof for each dimension that was asked for, of each input that the file has."""
    cases = [all_sizes(plan.specs, probe.sizes) for probe in compared if probe.sizes]
    return [
        DimProof(
            name=dim.name,
            input=spec.name,
            axis=axis,
            in_file=axis < len(found) and not isinstance(found[axis], int),
            sizes=tuple(sorted({sizes[dim.name] for sizes in cases if dim.name in sizes})),
            refused_by_model=plan.refused.get(dim.name, ()),
        )
        for spec, found in _inputs_in_file(plan)
        for axis, dim in enumerate(spec.dims)
        if dim.name is not None
    ]


def _dims_held_equal(plan: Plan) -> Iterator[str]:
    """Dimensions asked for under two names that the file declares under one."""
    asked: dict[str, set[str]] = {}
    for spec, found in _inputs_in_file(plan):
        for dim, symbol in zip(spec.dims, found, strict=False):
            if dim.name and isinstance(symbol, str) and symbol != "?":
                asked.setdefault(symbol, set()).add(dim.name)
    for symbol, names in asked.items():
        if len(names) > 1:
            yield f"the file says that {' and '.join(sorted(names))} must be equal (both are {symbol})"


def _inputs_in_file(plan: Plan) -> Iterator[tuple[InputSpec, tuple[int | str, ...]]]:
    """Each input that the file has, and its dims there."""
    in_file = {value.name: value.dims for value in plan.graph.inputs}
    for spec in plan.specs:
        name = plan.file_inputs.get(spec.name, spec.name)
        if name in in_file:
            yield spec, in_file[name]
