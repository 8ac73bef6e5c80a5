"""Could the probes have seen a difference? An output that is empty, dead or saturated proves nothing."""

from collections.abc import Collection, Iterator, Sequence

import numpy as np

from tasks.core.arrays import EPS32, Array, error_of, ratio, rms, worst
from tasks.core.forward.traces import Addition
from tasks.core.limits import EXCUSED_LIMIT, JUDGED_FAMILIES, MOVEMENT_LIMIT, NOISE_LIMIT, SATURATION_LIMIT
from tasks.core.proof.observations import Observed
from tasks.core.proof.squares import usual_rms
from tasks.core.records.evidence import BlockPower, OutputEvidence, Power
from tasks.core.reference.structure import Group


def note_movement(
    outputs: Sequence[Observed],
    groups: Sequence[Group],
    *,
    family: str,
    pair: tuple[list[Array], list[Array]],
    torch32: tuple[list[Array], list[Array]],
) -> None:
    """Note how far each output moves between two inputs.

    Args:
        outputs: get the figures.
        groups: those of them that describe the same items.
        family: of the inputs.
        pair: the module's two answers in float64.
        torch32: the same as the module gives them.
    """
    for output, a, b, *own in zip(outputs, *pair, *torch32, strict=True):
        output.movements[family] = max(output.movements.get(family, 0.0), _movement(output, (a, b), own))
        output.still_share = min(output.still_share, _still_share(a, b))
    for group in groups:  # a detector of one class gives it always, but not for the same items
        if group.labels is not None:
            most = max(outputs[index].movements[family] for index in group.outputs)
            outputs[group.labels].movements[family] = most


def next_rows(answer: Sequence[Array]) -> list[Array]:
    """Outputs whose rows stand in the place of the row before."""
    return [np.roll(array, 1, axis=0) if array.ndim else array for array in answer]


def doubts_of(output: OutputEvidence, observed: Observed, constant_outputs: Collection[str]) -> Iterator[str]:
    """Why a comparison of this output proves nothing; none only where a judged family was compared, and moved.

    Args:
        output: its figures.
        observed: what they were made of.
        constant_outputs: names of outputs that are meant not to move.
    """
    families = [f.family for f in output.families if f.family in JUDGED_FAMILIES and f.num_elements > 0]
    # where one family is finite, others are left out; where none is, that is the doubt
    compared = [family for family in families if family not in observed.not_finite] or families
    uncompared = _uncompared_items(observed)
    if compared or not uncompared:
        movements = [output.power.families.get(family, 0.0) for family in compared]
        where = next(iter(observed.not_finite.values()), "") if {*compared} <= {*observed.not_finite} else ""
        is_constant = output.name in constant_outputs
        yield from _dead(output.name, output.power, movements, not_finite=where, is_constant=is_constant)
    if uncompared:
        yield uncompared


def notes_of(output: OutputEvidence, observed: Observed) -> Iterator[str]:
    """Which families are left out, as the module itself is not finite there, beside others that are judged.

    Args:
        output: its figures.
        observed: what they were made of.
    """
    if len(observed.not_finite) < len({f.family for f in output.families if f.family in JUDGED_FAMILIES}):
        for where in observed.not_finite.values():
            yield f"{output.name} is not finite in PyTorch itself: {where}; power is judged on the other families"


def _dead(name: str, power: Power, movements: list[float], *, not_finite: str, is_constant: bool) -> Iterator[str]:
    """The first of these that is true: the output is empty, not finite, not compared, zero, still, saturated."""
    families = " and ".join(power.families) or "any"
    movement = worst(movements)
    if power.num_elements == 0:
        yield f"{name} is empty on every probe ({families}); give inputs on which it is not with --sample"
    elif not_finite:
        yield (
            f"{name} is not finite in PyTorch itself: {not_finite}; narrow the range of the inputs "
            f"(NAME=DTYPE[DIMS]@LOW..HIGH) or their sizes (WORD:LOW..HIGH), or give real ones with --sample"
        )
    elif not movements:
        yield f"no element of {name} is finite in both float32 and float64 ({families}), so none was compared"
    elif is_constant:
        if NOISE_LIMIT < movement < MOVEMENT_LIMIT:
            yield (
                f"{name} moves with the input by {movement:.3g} times the noise ({families}): it is not constant, as "
                f"--constant-output says, and a comparison proves little; give real inputs with --sample"
            )
    elif power.zero_share == 1.0:
        yield (
            f"{name} is exactly zero on every probe ({families}), so any file that gives zeros would agree; "
            f"give trained weights, --weights random, or --constant-output {name} if it is meant so"
        )
    elif not movement >= MOVEMENT_LIMIT:
        yield (
            f"{name} moves with the input by only {movement:.3g} times the noise ({families}), so a comparison "
            f"proves nothing; give real inputs with --sample, or --constant-output {name} if it is meant so"
        )
    elif power.saturated_share > SATURATION_LIMIT:
        yield (
            f"{name} is saturated: {power.saturated_share:.1%} of it stay at its largest or smallest value whatever "
            f"the input ({families}), so only the rest was compared; give real inputs with --sample"
        )


def _uncompared_items(observed: Observed) -> str:
    """Of judged families only: on a blank or a glaring picture a sound detector may say anything."""
    counts = [count for family, count in observed.items.items() if family in JUDGED_FAMILIES]
    num_items, num_matched = sum(c.num_reference for c in counts), sum(c.num_matched for c in counts)
    if num_items - num_matched <= EXCUSED_LIMIT * num_items:
        return ""
    return (
        f"only {num_matched} of {num_items} detected items could be compared: on the others "
        f"PyTorch's own runs disagree; give real inputs with --sample"
    )


def _movement(output: Observed, pair: tuple[Array, Array], torch32: Sequence[Array]) -> float:
    """Change of what changes at all, by more than one rounding: masked logits of -1e9 beside it have no say."""
    a, b = pair
    if a.shape != b.shape:
        return float("inf")
    if a.dtype.kind != "f":
        return float("inf") if (a != b).any() else 0.0
    moves = np.abs(error_of(a, b)) > output.eps * np.abs(a)
    floor = output.eps * max(rms(a[moves]), rms(b[moves]))
    if output.items:
        return ratio(rms(error_of(a, b)), max([*output.noise_rms, floor]))
    errors = [np.abs(error_of(own, exact))[moves] for own, exact in zip(torch32, pair, strict=True)]
    movement = ratio(rms(error_of(a, b)[moves]), max([*map(rms, errors), floor]))
    if movement >= MOVEMENT_LIMIT:
        return movement
    return ratio(rms(error_of(a, b)[moves]), max([*map(usual_rms, errors), floor]))


def _still_share(a: Array, b: Array) -> float:
    if a.shape != b.shape or not a.size or a.dtype.kind != "f":
        return 0.0
    # float32 is what saturates: in float64 a sigmoid of 20 is not yet 1
    a, b = a.astype(np.float32), b.astype(np.float32)
    return float(np.mean((a == b) & ((a == a.max()) | (a == a.min()))))


def block_powers(first: Sequence[Addition], second: Sequence[Addition]) -> list[BlockPower]:
    """How far each block's branch moves between two inputs.

    Args:
        first: residual additions of the float64 run on one input.
        second: those on another input.
    """
    if [addition.call.source for addition in first] != [addition.call.source for addition in second]:
        return []  # a module that takes another way for other values
    powers = []
    for a, b in zip(first, second, strict=True):
        if a.branch.shape == b.branch.shape:  # else it is sized by data
            movement = ratio(rms(a.branch - b.branch), EPS32 * rms(a.total))
            powers.append(BlockPower(path=a.call.module_path, source=a.call.source, movement=movement))
    return powers


def doubts_of_blocks(blocks: list[BlockPower]) -> Iterator[str]:
    """Why a comparison of the outputs proves nothing of the blocks: all of them are silent."""
    silent = _silent(blocks)
    if silent and len(silent) == len(blocks):
        yield (
            f"all {len(silent)} residual blocks are silent: their branches move by at most "
            f"{max(block.movement for block in silent):.3g} times the rounding of the sums, so what they compute "
            f"was not compared; give trained weights or --weights random"
        )


def notes_of_blocks(blocks: list[BlockPower]) -> Iterator[str]:
    """Which blocks are silent beside others that are not."""
    silent = _silent(blocks)
    if 0 < len(silent) < len(blocks):
        named = ", ".join(block.path or block.source for block in silent[:3])
        yield f"{len(silent)} of {len(blocks)} residual blocks are silent, so not compared: {named}"


def _silent(blocks: list[BlockPower]) -> list[BlockPower]:
    return [block for block in blocks if not block.movement >= MOVEMENT_LIMIT]
