"""Outputs sized by data, as a detector's: items are matched by class and overlap, whatever their order.

Detectors disagree with themselves: what lies on the edge of a threshold is found in one run and not in
the next. An item without a partner is excused only where a run of the module itself disagrees on it, too,
or where its score or overlap is nearer to a threshold than the noise.
"""

import numpy as np
from numpy.typing import NDArray

from tasks.core.arrays import EPS32, Array, rms
from tasks.core.forward.thresholds import Thresholds
from tasks.core.limits import JUMP, LEAST_AGREEMENT
from tasks.core.proof.edges import Edges, Partnered
from tasks.core.proof.items import iou, partners_of
from tasks.core.proof.observations import ItemCount
from tasks.core.proof.parity import OutputRuns, Runs
from tasks.core.reference.structure import Group


def align(
    group: Group, thresholds: Thresholds, runs: Runs, *, count: ItemCount, may_be_luck: bool = False
) -> dict[int, OutputRuns]:
    """Put the items of every run in torch32's order, and count those without a partner.

    Args:
        group: which outputs.
        thresholds: what the module compares scores and overlaps with; they tell what lies on an edge.
        runs: all answers to one probe; torch32's items are the ones to find.
        count: gets the numbers.
        may_be_luck: on these inputs scores may be equal, so that a few items may be others of the same score.

    Returns:
        By output the values of the items that all runs agree on.
    """
    torch32 = runs.torch32
    others = [(run, partners_of(group, torch32, run)) for run in runs.others]
    kept = np.all([partners >= 0 for _, partners in others], axis=0)
    kept &= ~_jumps(group, torch32, others, kept=kept)
    answers = [(answer, partners_of(group, torch32, answer)) for answer in runs.onnx]
    edges = Edges(group, thresholds, torch32=torch32, others=others, kept=kept)
    count.num_reference += len(kept)
    num_unmatched, num_excused = 0, 0
    everywhere = kept & np.all([partners >= 0 for _, partners in answers], axis=0)
    for answer, partners in answers:
        lost = [int(i) for i in np.flatnonzero(partners < 0)]
        extra = [int(i) for i in np.setdiff1d(np.arange(group.length(answer)), partners)]
        both = (torch32, answer)
        ends = [_lowest_score(group, items) if len(lost) == len(extra) else -np.inf for items in both]
        blamed = [(i, torch32, "the file lacks it") for i in lost if kept[i] and not edges.is_edge(torch32, i, ends[1])]
        blamed += [(i, answer, "PyTorch lacks it") for i in extra if not edges.is_edge(answer, i, ends[0])]
        swapped = edges.swapped(answer, partners) if may_be_luck else np.zeros_like(kept)
        everywhere &= ~swapped
        num_unmatched = max(num_unmatched, len(blamed))
        num_excused = max(num_excused, len(lost) + len(extra) - len(blamed) + int((swapped & kept).sum()))
        if blamed and not count.first_unmatched:
            index, items, what = blamed[0]
            count.first_unmatched = f"{_described(group, items, index)}: {what}"
    count.num_unmatched += num_unmatched
    count.num_excused += num_excused
    count.num_matched += int(everywhere.sum())
    count.lowest_iou = min([count.lowest_iou, *_overlaps(group, torch32, answers, kept=everywhere)])
    return {
        output: _aligned(output, torch32, answers=answers, others=others, kept=everywhere) for output in group.outputs
    }


def is_luck(group: Group, runs: Runs) -> bool:
    """Do two runs of the module itself find other items, and the file no more others than they?

    On a blank picture RetinaNet's scores are all 1 but for rounding: which of two boxes suppresses the other is luck.

    Args:
        group: which outputs.
        runs: all answers to one probe.
    """
    torch32 = runs.torch32
    own = [_num_alone(group, torch32, run) for run in runs.others]
    allowed = [(1 - LEAST_AGREEMENT) * (group.length(torch32) + group.length(run)) for run in runs.others]
    most = 2 * max(own)
    disagree = any(number > limit for number, limit in zip(own, allowed, strict=True))
    return disagree and all(_num_alone(group, torch32, answer) <= most for answer in runs.onnx)


def _num_alone(group: Group, base: list[Array], other: list[Array]) -> int:
    """Items of either without a partner in the other."""
    num_partners = int((partners_of(group, base, other) >= 0).sum())
    return group.length(base) + group.length(other) - 2 * num_partners


def _aligned(
    output: int, torch32: list[Array], *, answers: list[Partnered], others: list[Partnered], kept: NDArray[np.bool_]
) -> OutputRuns:
    """One output's values of the items that are kept."""
    float64, *perturbed = [run[output][partners[kept]] for run, partners in others]
    return OutputRuns(
        onnx=[answer[output][partners[kept]] for answer, partners in answers],
        torch32=torch32[output][kept],
        perturbed=perturbed,
        float64=float64,
    )


def _jumps(group: Group, base: list[Array], others: list[Partnered], *, kept: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Items that were another one in a reference run: their boxes are off by far more than the usual noise."""
    jumps = np.zeros(len(kept), dtype=np.bool_)
    for output in (group.boxes, group.scores):
        if output is None or not kept.any():
            continue
        wanted = base[output].astype(np.float64).reshape(len(kept), -1)
        off = np.zeros(len(kept))
        for run, indices in others:
            found = run[output].astype(np.float64).reshape(len(run[output]), -1)
            off[kept] = np.maximum(off[kept], np.abs(found[indices[kept]] - wanted[kept]).max(axis=1))
        usual = max(float(np.median(off[kept])), EPS32 * rms(wanted))
        jumps |= off > JUMP * usual
    return jumps & kept


def _lowest_score(group: Group, items: list[Array]) -> float:
    """Where a list that may be full ends: below that, what it lacks may have had no place in it."""
    return -np.inf if group.scores is None else float(items[group.scores].min(initial=np.inf))


def _overlaps(group: Group, torch32: list[Array], answers: list[Partnered], *, kept: NDArray[np.bool_]) -> list[float]:
    """The lowest overlap of a kept item with its partner in each of the file's answers."""
    if group.boxes is None or not kept.any():
        return []
    return [
        float(np.diagonal(iou(torch32[group.boxes][kept], answer[group.boxes][partners[kept]])).min())
        for answer, partners in answers
    ]


def _described(group: Group, answer: list[Array], index: int) -> str:
    said = [f"item {index}"]
    if group.labels is not None:
        said.append(f"class {int(answer[group.labels][index])}")
    if group.scores is not None:
        said.append(f"score {float(answer[group.scores][index]):.3g}")
    if group.boxes is not None:
        said.append(f"box {[round(float(v), 1) for v in answer[group.boxes][index]]}")
    return ", ".join(said)
