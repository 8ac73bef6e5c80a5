"""What a module chose among values on one probe, and which other choices are as good."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from tasks.core.arrays import Array, magnitudes
from tasks.core.forward.choices import NotedChoices
from tasks.core.limits import EDGE


@dataclass(frozen=True)
class Choice:
    """What one operator chose."""

    values: Array
    """What it chose from."""
    indices: Array
    axis: int
    """Along which, -1 for all of them."""
    margins: Array
    """Of each value: how much better another may be that is as good, a multiple of the noise."""

    def as_good(self, found: Array) -> NDArray[np.bool_] | None:
        """Where other indices choose as good a value; None: they are none of this choice, by their number."""
        if found.size != self.indices.size:
            return None
        axis, values = self.axis, self.values if self.axis >= 0 else self.values.reshape(-1)
        is_kept = values.ndim == self.indices.ndim  # topk and sort choose several along the axis
        ours, theirs = self.indices, found.reshape(self.indices.shape)
        if not is_kept:
            ours, theirs = (np.expand_dims(indices, axis) for indices in (ours, theirs))
        in_range = (theirs >= 0) & (theirs < values.shape[axis])
        theirs_in_range = np.where(in_range, theirs, 0)
        (wanted, given), (margin, other) = (
            [np.take_along_axis(array, indices, axis) for indices in (ours, theirs_in_range)]
            for array in (values, self.margins.reshape(values.shape))
        )
        off = np.abs(wanted.astype(np.float64) - given)
        good: NDArray[np.bool_] = in_range & ((wanted == given) | (off <= np.maximum(margin, other)))
        if is_kept:  # none of them twice
            good = good & (np.diff(np.sort(theirs, axis=axis), axis=axis) != 0).all(axis=axis, keepdims=True)
        return good.reshape(found.shape)


def choices_of(torch32: NotedChoices, float64: NotedChoices) -> list[Choice]:
    """The choices of a run, with the noise of what they chose from.

    Args:
        torch32: what was noted in float32.
        float64: the same in float64; nothing where there is no such run.
    """
    choices = []
    for number, (values, indices, axis) in enumerate(torch32.seen):
        exact = float64.seen[number][0] if number < len(float64.seen) else values
        choices.append(Choice(values.numpy(), indices.numpy(), axis, _margins(values, exact)))
    return choices


def _margins(values: torch.Tensor, exact: torch.Tensor) -> Array:
    """By the noise of the values of one order of magnitude: that of a mask of -1e9 is none of the logits' beside it."""
    if not values.dtype.is_floating_point or values.shape != exact.shape:
        return np.zeros(values.shape)
    known = exact.double().numpy()
    finite = np.isfinite(known) & np.isfinite(values.numpy())
    noise = np.where(finite, values.double().numpy() - np.where(finite, known, 0.0), 0.0)
    groups = magnitudes(np.where(finite, known, 0.0)).reshape(-1)
    squares = np.bincount(groups, weights=np.square(noise).reshape(-1)) / np.maximum(np.bincount(groups), 1)
    return EDGE * np.sqrt(squares)[groups].reshape(known.shape)
