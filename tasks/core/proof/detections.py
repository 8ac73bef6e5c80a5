"""Outputs sized by data, as a detector's: items are matched by class and overlap, whatever their order.

Detectors disagree with themselves: what lies on the edge of a threshold is found in one run and not in
the next. An item without a partner is excused only where a run of the module itself disagrees on it, too,
or where its score or overlap is nearer to a threshold than the noise.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tasks.core.arrays import EPS32, Array, rms
from tasks.core.forward.thresholds import Thresholds
from tasks.core.proof.items import Indices, corners, describe, iou, partners_of
from tasks.core.reference.groups import Group, length

EDGE = 8.0
"""Noise within which a score or an overlap may fall on either side of a threshold; the limit of noise ratios."""
LEAST_AGREEMENT = 0.95
"""Share of items that two runs of the module itself must have in common for a file to be held against them."""
JUMP = 1000.0
"""Multiple of the usual noise at which a matched item of a reference run is another item."""


@dataclass
class ItemCount:
    """What became of the items of one group over one family."""

    num_reference: int = 0
    num_matched: int = 0
    num_excused: int = 0
    num_unmatched: int = 0
    lowest_iou: float = 1.0
    first_unmatched: str = ""


@dataclass
class Aligned:
    """The answers of one probe, item by item, by output; only items that all runs agree on."""

    onnx: dict[int, list[Array]] = field(default_factory=dict)
    torch32: dict[int, Array] = field(default_factory=dict)
    perturbed: dict[int, list[Array]] = field(default_factory=dict)
    float64: dict[int, Array] = field(default_factory=dict)


def align(
    group: Group,
    thresholds: Thresholds,
    *,
    onnx: Sequence[list[Array]],
    torch32: list[Array],
    perturbed: Sequence[list[Array]],
    float64: list[Array],
    count: ItemCount,
    may_be_luck: bool = False,
) -> Aligned:
    """Put the items of every run in torch32's order, and count those without a partner.

    Args:
        group: which outputs.
        thresholds: what the module compares scores and overlaps with; they tell what lies on an edge.
        onnx: the file's answers, one an optimisation level.
        torch32: the module's answer, whose items are the ones to find.
        perturbed: its answers with weights off by one rounding.
        float64: its answer in float64.
        count: gets the numbers.
        may_be_luck: on these inputs scores may be equal, so that a few items may be others of the same score.
    """
    runs = [float64, *perturbed]
    partners = [partners_of(group, torch32, run) for run in runs]
    kept = np.all([p >= 0 for p in partners], axis=0)
    kept &= ~_jumps(group, torch32, runs, partners, kept)
    found = [partners_of(group, torch32, answer) for answer in onnx]
    judge = _Edges(group, thresholds, torch32, runs, partners, kept)
    count.num_reference += len(kept)
    worst: dict[str, int] = {"unmatched": 0, "excused": 0}
    everywhere = kept & np.all([matched >= 0 for matched in found], axis=0)
    for answer, matched in zip(onnx, found, strict=True):
        lost = [int(i) for i in np.flatnonzero(matched < 0)]
        extra = [int(i) for i in np.setdiff1d(np.arange(length(group, answer)), matched)]
        ends = _lowest_scores(group, torch32, answer) if len(lost) == len(extra) else (-np.inf, -np.inf)
        blamed = [(i, torch32, "the file lacks it") for i in lost if kept[i] and not judge.is_edge(torch32, i, ends[1])]
        blamed += [(i, answer, "PyTorch lacks it") for i in extra if not judge.is_edge(answer, i, ends[0])]
        swapped = judge.swapped(answer, matched) if may_be_luck else np.zeros_like(kept)
        everywhere &= ~swapped
        worst["unmatched"] = max(worst["unmatched"], len(blamed))
        worst["excused"] = max(worst["excused"], len(lost) + len(extra) - len(blamed) + int((swapped & kept).sum()))
        if blamed and not count.first_unmatched:
            index, items, what = blamed[0]
            count.first_unmatched = f"{describe(group, items, index)}: {what}"
    count.num_unmatched += worst["unmatched"]
    count.num_excused += worst["excused"]
    count.num_matched += int(everywhere.sum())
    count.lowest_iou = min([count.lowest_iou, *_overlaps(group, torch32, onnx, found, everywhere)])
    answers, others = list(zip(onnx, found, strict=True)), list(zip(runs, partners, strict=True))
    return _aligned(group, everywhere, torch32, answers, others)


def is_luck(
    group: Group,
    onnx: Sequence[list[Array]],
    torch32: list[Array],
    runs: Sequence[list[Array]],
) -> bool:
    """Do two runs of the module itself find other items, and the file no more others than they?

    On a blank picture RetinaNet's scores are all 1 but for rounding: which of two boxes suppresses the other is luck.
    """
    own = [_num_alone(group, torch32, run) for run in runs]
    allowed = [(1 - LEAST_AGREEMENT) * (length(group, torch32) + length(group, run)) for run in runs]
    most = 2 * max(own)
    disagree = any(number > limit for number, limit in zip(own, allowed, strict=True))
    return disagree and all(_num_alone(group, torch32, answer) <= most for answer in onnx)


def _num_alone(group: Group, base: list[Array], other: list[Array]) -> int:
    """Items of either without a partner in the other."""
    num_partners = int((partners_of(group, base, other) >= 0).sum())
    return length(group, base) + length(group, other) - 2 * num_partners


def _aligned(
    group: Group,
    kept: NDArray[np.bool_],
    torch32: list[Array],
    onnx: list[tuple[list[Array], Indices]],
    runs: list[tuple[list[Array], Indices]],
) -> Aligned:
    aligned = Aligned()
    for output in group.outputs:
        aligned.torch32[output] = torch32[output][kept]
        aligned.onnx[output] = [answer[output][partners[kept]] for answer, partners in onnx]
        aligned.float64[output], *others = [answer[output][partners[kept]] for answer, partners in runs]
        aligned.perturbed[output] = others
    return aligned


def _jumps(
    group: Group, base: list[Array], runs: list[list[Array]], partners: list[Indices], kept: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Items that were another one in a reference run: their boxes are off by far more than the usual noise."""
    jumps = np.zeros(len(kept), dtype=np.bool_)
    for output in (group.boxes, group.scores):
        if output is None or not kept.any():
            continue
        wanted = base[output].astype(np.float64).reshape(len(kept), -1)
        off = np.zeros(len(kept))
        for run, indices in zip(runs, partners, strict=True):
            found = run[output].astype(np.float64).reshape(len(run[output]), -1)
            off[kept] = np.maximum(off[kept], np.abs(found[indices[kept]] - wanted[kept]).max(axis=1))
        usual = max(float(np.median(off[kept])), EPS32 * rms(wanted))
        jumps |= off > JUMP * usual
    return jumps & kept


class _Edges:
    """Tells whether an item lies where a sound run may find it or not."""

    def __init__(
        self,
        group: Group,
        thresholds: Thresholds,
        torch32: list[Array],
        runs: list[list[Array]],
        partners: list[Indices],
        kept: NDArray[np.bool_],
    ) -> None:
        self._group, self._torch32, self._runs = group, torch32, runs
        self._thresholds = thresholds
        self._lonely = [np.setdiff1d(np.arange(length(group, run)), p) for run, p in zip(runs, partners, strict=True)]
        pairs = list(zip(runs, partners, strict=True))
        self._score_noise = _noise(group.scores, torch32, pairs, kept)
        self._box_noise = _noise(group.boxes, torch32, pairs, kept)

    def is_edge(self, answer: list[Array], index: int, end: float) -> bool:
        """Another run has it where torch32 lacks it, or a threshold or the end of the list is nearer than the noise."""
        if self._group.boxes is None:
            return any(length(self._group, run) != length(self._group, self._torch32) for run in self._runs)
        item = {output: answer[output][index : index + 1] for output in self._group.outputs}
        for run, lonely in zip(self._runs, self._lonely, strict=True):
            alone = [array[lonely] if i in self._group.outputs else array for i, array in enumerate(run)]
            wanted = [item.get(i, array) for i, array in enumerate(run)]
            if len(lonely) and partners_of(self._group, wanted, alone)[0] >= 0:
                return True
        return self._is_near_score(answer, index, end) or self._is_near_overlap(answer, index)

    def swapped(self, answer: list[Array], partners: Indices) -> NDArray[np.bool_]:
        """Items in whose place the file has one of the same score: each suppresses the other, and rounding says which.

        None where they are more than a few: then the boxes are wrong.
        """
        boxes, scores = self._group.boxes, self._group.scores
        swapped = partners >= 0
        if boxes is None or scores is None or not self._thresholds.overlaps:
            return np.zeros_like(swapped)
        ours, theirs = ([items[i].astype(np.float64) for i in (boxes, scores)] for items in (self._torch32, answer))
        at = partners[swapped]
        is_other = np.abs(ours[0][swapped] - theirs[0][at]).max(axis=1) > JUMP * self._box_noise
        is_as_good = np.abs(ours[1][swapped] - theirs[1][at]) <= EDGE * self._score_noise
        overlaps = np.diagonal(iou(ours[0][swapped], theirs[0][at]))
        swapped[swapped] = is_other & is_as_good & (overlaps >= min(self._thresholds.overlaps))
        few = (1 - LEAST_AGREEMENT) * len(partners)
        return swapped if swapped.sum() <= few else np.zeros_like(swapped)

    def _is_near_score(self, answer: list[Array], index: int, end: float) -> bool:
        if self._group.scores is None:
            return False
        score = float(answer[self._group.scores][index])
        noise = EDGE * self._score_noise
        return score <= end + noise or any(abs(score - edge) <= noise for edge in self._thresholds.scores)

    def _is_near_overlap(self, answer: list[Array], index: int) -> bool:
        boxes = self._group.boxes
        assert boxes is not None
        box = answer[boxes][index : index + 1]
        shortest = max(float((corners(box)[:, 2:] - corners(box)[:, :2]).min()), 1e-30)
        noise = EDGE * 4 * self._box_noise / shortest
        overlaps = np.concatenate([iou(box, items[boxes])[0] for items in (self._torch32, answer)])
        return any(bool((np.abs(overlaps - limit) <= noise).any()) for limit in self._thresholds.overlaps)


def _lowest_scores(group: Group, torch32: list[Array], answer: list[Array]) -> tuple[float, float]:
    """Where two lists that may both be full end: below that, what one lacks may have had no place in it."""
    if group.scores is None:
        return -np.inf, -np.inf
    torch_end, file_end = (float(items[group.scores].min(initial=np.inf)) for items in (torch32, answer))
    return torch_end, file_end


def _noise(
    output: int | None, torch32: list[Array], runs: list[tuple[list[Array], Indices]], kept: NDArray[np.bool_]
) -> float:
    if output is None:
        return 0.0
    wanted = torch32[output].astype(np.float64)
    found = [rms(run[output][partners[kept]] - wanted[kept]) for run, partners in runs]
    return max([*found, EPS32 * rms(wanted)])


def _overlaps(
    group: Group, torch32: list[Array], onnx: Sequence[list[Array]], found: list[Indices], kept: NDArray[np.bool_]
) -> list[float]:
    if group.boxes is None or not kept.any():
        return []
    return [
        float(np.diagonal(iou(torch32[group.boxes][kept], answer[group.boxes][partners[kept]])).min())
        for answer, partners in zip(onnx, found, strict=True)
    ]
