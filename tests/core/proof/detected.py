"""Boxes, scores and classes as a detector gives them, for the tests of items and detections."""

import numpy as np

from tasks.core.arrays import Array
from tasks.core.reference.structure import Group

GROUP = Group(outputs=(0, 1, 2), boxes=0, scores=1, labels=2)
Item = tuple[tuple[float, float, float, float], float, int]
"""Box, score and class."""
FAR: tuple[Item, ...] = (((0, 0, 10, 10), 0.9, 0), ((50, 0, 70, 20), 0.8, 1), ((0, 60, 30, 90), 0.7, 0))
"""Three items that have nothing to do with each other."""


def answer(*items: Item) -> list[Array]:
    """The outputs of a run that found these items."""
    boxes, scores, labels = zip(*items, strict=True) if items else ((), (), ())
    return [
        np.array(boxes, dtype=np.float32).reshape(-1, 4),
        np.array(scores, dtype=np.float32),
        np.array(labels, dtype=np.int64),
    ]


def nearly(outputs: list[Array], seed: int) -> list[Array]:
    """The outputs of another run: off by a rounding or so, in float64."""
    noise = np.random.default_rng(seed)
    return [a * (1 + 1e-7 * noise.standard_normal(a.shape)) if a.dtype.kind == "f" else a for a in outputs]
