"""Do the residual blocks of a module take part in its answer? One whose branch is silent is not proven."""

from collections.abc import Iterator

from tasks.core.arrays import EPS32, ratio, rms
from tasks.core.forward.traces import Addition
from tasks.core.proof.power import MOVEMENT_LIMIT
from tasks.core.records.evidence import BlockPower
from tasks.core.reference.reference import Reference


def block_powers(reference: Reference) -> list[BlockPower]:
    """How far each block's branch moves between the first two probes; none where they were not recorded."""
    recorded = [reference.additions(probe) for probe in reference.inputs.probes[:2]]
    first, second = recorded if len(recorded) == 2 else ([], [])
    if [addition.call.source for addition in first] != [addition.call.source for addition in second]:
        return []  # a module that takes another way for other values
    return list(_powers(first, second))


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


def _powers(first: list[Addition], second: list[Addition]) -> Iterator[BlockPower]:
    for a, b in zip(first, second, strict=True):
        if a.branch.shape != b.branch.shape:
            continue  # sized by data
        movement = ratio(rms(a.branch - b.branch), EPS32 * rms(a.total))
        yield BlockPower(path=a.call.module_path, source=a.call.source, movement=movement)
