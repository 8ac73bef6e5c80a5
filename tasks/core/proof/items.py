"""The items of outputs that are sized by data, such as detected boxes, matched between two runs."""

import numpy as np
from numpy.typing import NDArray

from tasks.core.arrays import Array
from tasks.core.limits import BOX_MARGIN, LEAST_AGREEMENT, MATCHING_IOU
from tasks.core.proof.parity import Runs
from tasks.core.reference.structure import Group

Indices = NDArray[np.int64]


def partners_of(group: Group, base: list[Array], other: list[Array]) -> Indices:
    """Index of each item's partner in another run by class and overlap, or -1: int64 [items of base].

    Args:
        group: which outputs describe the items.
        base: one run's outputs.
        other: the other's, each item of which is the partner of at most one.
    """
    num_base, num_other = group.length(base), group.length(other)
    partners = np.full(num_base, -1, dtype=np.int64)
    if group.boxes is None:
        return np.arange(num_base, dtype=np.int64) if num_base == num_other else partners
    overlaps = iou(*_widened(base[group.boxes], other[group.boxes]))
    if group.labels is not None:
        overlaps[base[group.labels][:, None] != other[group.labels][None, :]] = 0.0
    if group.scores is not None and overlaps.size:  # of boxes that coincide, the one with the nearest score
        distance = np.abs(base[group.scores][:, None].astype(np.float64) - other[group.scores][None, :])
        overlaps = np.where(overlaps >= MATCHING_IOU, overlaps - 1e-3 * np.minimum(distance, 1.0), overlaps)
    pairs = np.argwhere(overlaps >= MATCHING_IOU - 1e-3)
    taken: set[int] = set()
    for i, j in pairs[np.argsort(-overlaps[tuple(pairs.T)], kind="stable")]:
        if partners[i] < 0 and j not in taken:
            partners[i] = j
            taken.add(int(j))
    return partners


def _widened(a: Array, b: Array) -> tuple[Array, Array]:
    """Boxes of both, widened by a margin: some are lines or points, which no two runs put at the very same place."""
    both = corners(np.concatenate([a, b]))
    margin = BOX_MARGIN * np.abs(both).max(initial=0.0)
    both = both + np.array([-margin, -margin, margin, margin])
    return both[: len(a)], both[len(a) :]


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


def iou(a: Array, b: Array) -> NDArray[np.float64]:
    """Intersection over union of every box of `a` with every one of `b`, float64 [A, B]; 1 for equal boxes.

    Args:
        a: boxes [A, 4], as two corners or as a corner and two sides.
        b: boxes [B, 4], in the same form.
    """
    both = corners(np.concatenate([a, b]))  # read alike
    a, b = both[: len(a), None], both[None, len(a) :]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = np.clip(sides, 0.0, None).prod(axis=-1)
    union = (a[..., 2:] - a[..., :2]).prod(axis=-1) + (b[..., 2:] - b[..., :2]).prod(axis=-1) - shared
    equal = (a == b).all(axis=-1)
    return np.where(equal, 1.0, shared / np.where(union > 0, union, np.inf))


def corners(boxes: Array) -> NDArray[np.float64]:
    """Boxes [N, 4] as two corners: where the last two numbers are sides, they are added to the first two."""
    wide = np.nan_to_num(boxes.astype(np.float64))
    are_corners = bool((wide[:, 2:] >= wide[:, :2]).all())
    return wide if are_corners else np.concatenate([wide[:, :2], wide[:, :2] + np.abs(wide[:, 2:])], axis=1)
