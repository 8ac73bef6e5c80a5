"""Outputs sized by data, as a detector's: items are matched by class and overlap, whatever their order.

Detectors disagree with themselves: what lies on the edge of a threshold is found in one run and not in
the next. An item without a partner is excused only where a run of the module itself disagrees on it, too,
or where its score or overlap is nearer to a threshold than the noise.

What a detector decides on its way is seen in no output: which of a thousand proposals is the last, which of two
suppresses the other. So before an item is called wrong the module is asked again, with weights off by so many roundings
that its answers are as far from torch32's as those are from float64's.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from tasks.core.arrays import EPS32, Array, rms
from tasks.core.forward.outputs import Thresholds
from tasks.core.limits import EDGE, JUMP, LEAST_AGREEMENT, MAX_ROUNDINGS, NUM_SHAKEN
from tasks.core.proof.items import Indices, corners, iou, partners_of
from tasks.core.proof.observations import ItemCount
from tasks.core.proof.parity import OutputRuns, Runs
from tasks.core.reference.structure import Group

Mask = NDArray[np.bool_]
Partnered = tuple[list[Array], Indices]
"""An answer, and for each of torch32's items the index of its partner in it, or -1."""
_Blamed = tuple[int, list[Array], str]
"""Index of an item, the answer that has it, and who lacks it."""
_LOST, _EXTRA = "the file lacks it", "PyTorch lacks it"
_FIRST_SEED = 1000
"""Of shaken runs: other signs than those of perturbed ones."""


def align(
    group: Group, thresholds: Thresholds, runs: Runs, *, count: ItemCount, may_be_luck: bool = False,
    shaken: Iterable[list[Array]] = (),
) -> dict[int, OutputRuns]:  # fmt: skip
    """Give by output the values of the items that all runs agree on, in torch32's order, and count the others.

    Args:
        group: which outputs.
        thresholds: what the module compares scores and overlaps with; they tell what lies on an edge.
        runs: all answers to one probe; torch32's items are the ones to find.
        count: gets the numbers.
        may_be_luck: on these inputs scores may be equal, so that a few items may be others of the same score.
        shaken: further runs of the module as noisy as torch32, asked for where a few items are left without a partner.
    """
    torch32 = runs.torch32
    others = [(run, partners_of(group, torch32, run)) for run in runs.others]
    kept = np.all([partners >= 0 for _, partners in others], axis=0)
    kept &= ~_jumps(group, torch32, others, kept=kept)
    answers = [(answer, partners_of(group, torch32, answer)) for answer in runs.onnx]
    edges = _Edges(group, thresholds, torch32=torch32, others=others, kept=kept)
    count.num_reference += len(kept)
    num_unmatched, num_excused = 0, 0
    everywhere = kept & np.all([partners >= 0 for _, partners in answers], axis=0)
    for answer, partners in answers:
        lost = [int(i) for i in np.flatnonzero(partners < 0)]
        extra = [int(i) for i in np.setdiff1d(np.arange(group.length(answer)), partners)]
        both = (torch32, answer)
        ends = [_lowest_score(group, items) if len(lost) == len(extra) else -np.inf for items in both]
        blamed = [(i, torch32, _LOST) for i in lost if kept[i] and not edges.is_edge(torch32, i, ends[1])]
        blamed += [(i, answer, _EXTRA) for i in extra if not edges.is_edge(answer, i, ends[0])]
        if 0 < len(blamed) <= max((1 - LEAST_AGREEMENT) * len(kept), 1):
            shaken, these = itertools.tee(shaken)  # each answer is held against all of them
            blamed = _unexplained(group, blamed, these)
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


def shaken_runs(group: Group, runs: Runs, run: Callable[[int, float], list[Array]]) -> Iterator[list[Array]]:
    """Runs of the module that differ from torch32 by about as much as that differs from float64.

    Args:
        group: whose boxes and scores say by how much.
        runs: answers to one probe.
        run: takes a seed and by how many roundings the weights shall be off; gives the module's outputs.
    """
    own, size = _distances(group, runs.torch32, runs.float64), 1.0
    for found in runs.perturbed[:1]:
        size = _nearer(size, own, _distances(group, runs.torch32, found))
    for seed in range(NUM_SHAKEN):
        yield (found := run(_FIRST_SEED + seed, size))
        size = _nearer(size, own, _distances(group, runs.torch32, found))


def _nearer(size: float, own: list[float], found: list[float]) -> float:
    """The size of a perturbation that would have been as far off as torch32's own noise."""
    factors = [o / f for o, f in zip(own, found, strict=True) if f > 0]
    return float(np.clip(size * np.clip(min(factors, default=1.0), 1 / 8, 8), 1, MAX_ROUNDINGS))


def _distances(group: Group, torch32: list[Array], run: list[Array]) -> list[float]:
    """How far boxes and scores of a run are from torch32's, over the items that both have."""
    partners = partners_of(group, torch32, run)
    return [_noise(output, torch32, [(run, partners)], kept=partners >= 0) for output in (group.boxes, group.scores)]


def _unexplained(group: Group, blamed: list[_Blamed], shaken: Iterable[list[Array]]) -> list[_Blamed]:
    """Those items on which no run of the module agrees with the file."""
    for run in shaken if group.boxes is not None else ():
        blamed = [entry for entry in blamed if _is_found(group, entry, run) == (entry[2] == _LOST)]
        if not blamed:
            break
    return blamed


def _is_found(group: Group, entry: _Blamed, run: list[Array]) -> bool:
    """Has a run an item of that class at that place?"""
    index, items, _ = entry
    alone = [array[index : index + 1] if i in group.outputs else array for i, array in enumerate(items)]
    return bool(partners_of(group, alone, run)[0] >= 0)


def _aligned(
    output: int, torch32: list[Array], *, answers: list[Partnered], others: list[Partnered], kept: Mask
) -> OutputRuns:
    """One output's values of the items that are kept."""
    float64, *perturbed = [run[output][partners[kept]] for run, partners in others]
    return OutputRuns(
        onnx=[answer[output][partners[kept]] for answer, partners in answers],
        torch32=torch32[output][kept],
        perturbed=perturbed,
        float64=float64,
    )


def _jumps(group: Group, base: list[Array], others: list[Partnered], *, kept: Mask) -> Mask:
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


def _overlaps(group: Group, torch32: list[Array], answers: list[Partnered], *, kept: Mask) -> list[float]:
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


class _Edges:
    """Tells whether an item lies where a sound run may find it or not."""

    def __init__(
        self, group: Group, thresholds: Thresholds, *, torch32: list[Array], others: list[Partnered], kept: Mask
    ) -> None:
        """Measure the noise of scores and boxes in the `kept` items of torch32, which all others have."""
        self._group, self._torch32, self._thresholds = group, torch32, thresholds
        self._others = [(run, np.setdiff1d(np.arange(group.length(run)), partners)) for run, partners in others]
        self._score_noise = _noise(group.scores, torch32, others, kept=kept)
        self._box_noise = _noise(group.boxes, torch32, others, kept=kept)

    def is_edge(self, answer: list[Array], index: int, end: float) -> bool:
        """Has another run what torch32 lacks, or is a threshold or the `end` of that list nearer than the noise?"""
        if self._group.boxes is None:
            return any(self._group.length(run) != self._group.length(self._torch32) for run, _ in self._others)
        item = {output: answer[output][index : index + 1] for output in self._group.outputs}
        for run, lonely in self._others:
            alone = [array[lonely] if i in self._group.outputs else array for i, array in enumerate(run)]
            wanted = [item.get(i, array) for i, array in enumerate(run)]
            if len(lonely) and partners_of(self._group, wanted, alone)[0] >= 0:
                return True
        return self._is_near_score(answer, index, end) or self._is_near_overlap(answer, index)

    def swapped(self, answer: list[Array], partners: Indices) -> Mask:
        """Items in whose place the file has one of the same score, as rounding says which suppresses the other.

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


def _noise(output: int | None, torch32: list[Array], others: list[Partnered], *, kept: Mask) -> float:
    """Largest root mean square by which a run of the module differs from torch32; 0 where there is no such output."""
    if output is None:
        return 0.0
    wanted = torch32[output].astype(np.float64)
    found = [rms(run[output][partners[kept]] - wanted[kept]) for run, partners in others]
    return max([*found, EPS32 * rms(wanted)])
