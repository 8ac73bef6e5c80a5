"""Do the residual blocks of a module take part in its answer? One whose branch is silent is not proven."""

from collections.abc import Iterator, Sequence

from tasks.core.arrays import EPS32, ratio, rms
from tasks.core.forward.traces import Addition
from tasks.core.limits import MOVEMENT_LIMIT
from tasks.core.records.evidence import BlockPower


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
