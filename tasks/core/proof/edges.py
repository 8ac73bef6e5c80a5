"""Items on an edge: where a sound run of a detector may find one or not."""

import numpy as np
from numpy.typing import NDArray

from tasks.core.arrays import EPS32, Array, rms
from tasks.core.forward.thresholds import Thresholds
from tasks.core.limits import EDGE, JUMP, LEAST_AGREEMENT
from tasks.core.proof.items import Indices, corners, iou, partners_of
from tasks.core.reference.structure import Group

Partnered = tuple[list[Array], Indices]
"""An answer, and for each of torch32's items the index of its partner in it, or -1."""


class Edges:
    """Tells whether an item lies where a sound run may find it or not."""

    def __init__(
        self,
        group: Group,
        thresholds: Thresholds,
        *,
        torch32: list[Array],
        others: list[Partnered],
        kept: NDArray[np.bool_],
    ) -> None:
        """Measure the noise of scores and boxes in the `kept` items of torch32, which all others have."""
        self._group, self._torch32, self._thresholds = group, torch32, thresholds
        self._others = [(run, np.setdiff1d(np.arange(group.length(run)), partners)) for run, partners in others]
        self._score_noise = _noise(group.scores, torch32, others, kept=kept)
        self._box_noise = _noise(group.boxes, torch32, others, kept=kept)

    def is_edge(self, answer: list[Array], index: int, end: float) -> bool:
        """Another run has it where torch32 lacks it, or a threshold or the end of the list is nearer than the noise.

        Args:
            answer: which has the item.
            index: of the item.
            end: score at which the list ends that lacks it.
        """
        if self._group.boxes is None:
            return any(self._group.length(run) != self._group.length(self._torch32) for run, _ in self._others)
        item = {output: answer[output][index : index + 1] for output in self._group.outputs}
        for run, lonely in self._others:
            alone = [array[lonely] if i in self._group.outputs else array for i, array in enumerate(run)]
            wanted = [item.get(i, array) for i, array in enumerate(run)]
            if len(lonely) and partners_of(self._group, wanted, alone)[0] >= 0:
                return True
        return self._is_near_score(answer, index, end) or self._is_near_overlap(answer, index)

    def swapped(self, answer: list[Array], partners: Indices) -> NDArray[np.bool_]:
        """Items in whose place the file has one of the same score: each suppresses the other, and rounding says which.

        None where they are more than a few: then the boxes are wrong.

        Args:
            answer: the file's.
            partners: of torch32's items in it.
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


def _noise(output: int | None, torch32: list[Array], others: list[Partnered], *, kept: NDArray[np.bool_]) -> float:
    """Largest root mean square by which a run of the module differs from torch32; 0 where there is no such output."""
    if output is None:
        return 0.0
    wanted = torch32[output].astype(np.float64)
    found = [rms(run[output][partners[kept]] - wanted[kept]) for run, partners in others]
    return max([*found, EPS32 * rms(wanted)])
