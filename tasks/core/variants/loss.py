"""What a variant costs the task: its answers and the proven file's, on the same samples."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tasks.core.arrays import Array
from tasks.core.errors import SpecError
from tasks.core.records.variants import Loss, Measure
from tasks.core.variants.data import LABELS, Batch
from tasks.core.variants.running import Outputs
from tasks.core.variants.statistics import (
    flips_p_value,
    mean_interval,
    num_deciding,
    paired_interval,
    share_interval,
)

NUM_NEIGHBOURS = 10
MAX_NEIGHBOURHOOD = 4096
"""Embeddings among which neighbours are looked for."""
_UNIT = 1e-3
"""By which the length of an embedding may differ from 1."""


def loss_of(
    batches: Sequence[Batch],
    wanted: Sequence[Outputs],
    found: Sequence[Outputs],
    *,
    budget: float,
    measure: Measure | None = None,
) -> Loss:
    """Measure the loss.

    Args:
        batches: with or without labels.
        wanted: the proven file's outputs a batch.
        found: the variant's.
        budget: the loss that is allowed, as a share.
        measure: by what; None: as the labels and the first output have it.

    Raises:
        SpecError: the labels or the first output do not fit the measure.
    """
    firsts = [[answer[0] for answer in answers] for answers in (wanted, found)]
    if measure == "neighbours" and firsts[0][0].ndim == 3:
        firsts = [[_pooled(a, batch) for a, batch in zip(each, batches, strict=True)] for each in firsts]
    first = firsts[0][0]
    is_table = first.ndim == 2 and first.shape[1] > 1 and first.dtype.kind == "f"
    has_labels = batches[0].labels is not None
    shape = f"the first output is {first.dtype}{list(first.shape)}"
    if measure in ("agreement", "neighbours") and not is_table:
        raise SpecError(f"The measure {measure} needs an output such as float32[batch, classes], but {shape}.")
    if measure == "accuracy" and not has_labels:
        raise SpecError(f"The measure accuracy needs {LABELS} among the samples, the right class of each.")
    measure = measure or _measure_of(first, has_labels=has_labels, is_table=is_table)
    if measure == "relative-error":  # lengths may differ from batch to batch
        errors = np.concatenate([_relative_errors(a, b) for a, b in zip(*firsts, strict=True)])
        return _of_mean(measure, errors, budget=budget)
    first, other = (np.concatenate(each) for each in firsts)
    if measure == "neighbours":
        return _of_mean(measure, _neighbours_lost(first, other), budget=budget)
    if measure == "agreement":
        return _of_agreement(first, other, budget=budget)
    labels = np.concatenate([batch.labels for batch in batches if batch.labels is not None])
    if not is_table or labels.ndim != 1 or labels.dtype.kind not in "iu" or labels.max() >= first.shape[1]:
        raise SpecError(f"Labels are numbers of classes, one a sample, for an output such as [batch, classes]; "
                        f"{shape}, and labels {labels.dtype}{list(labels.shape)}.")  # fmt: skip
    return _of_accuracy(first.argmax(1) == labels, other.argmax(1) == labels, budget=budget)


def _pooled(states: Array, batch: Batch) -> Array:
    """The mean over the tokens of each row; of those that count, where an input is a mask of them."""
    masks = [array for name, array in batch.arrays.items() if "mask" in name and array.shape == states.shape[:2]]
    weights = masks[0].astype(np.float32) if masks else np.ones(states.shape[:2], np.float32)
    total = (states * weights[..., None]).sum(axis=1)
    return np.asarray(total / np.maximum(weights.sum(axis=1, keepdims=True), 1))


def _measure_of(first: Array, *, has_labels: bool, is_table: bool) -> Measure:
    if has_labels:
        return "accuracy"
    if is_table and np.allclose(np.linalg.norm(first, axis=1), 1, atol=_UNIT):
        return "neighbours"
    return "agreement" if is_table else "relative-error"


def _relative_errors(first: Array, other: Array) -> NDArray[np.float64]:
    """One a sample."""
    rows, others = (values.reshape(len(values), -1).astype(np.float64) for values in (first, other))
    off = np.linalg.norm(others - rows, axis=1)
    return np.asarray(np.where(off == 0, 0, off / np.maximum(np.linalg.norm(rows, axis=1), 1e-30)))


def _of_accuracy(right: NDArray[np.bool_], is_right: NDArray[np.bool_], *, budget: float) -> Loss:
    worse, better, n = int((right & ~is_right).sum()), int((~right & is_right).sum()), len(right)

    def interval(number: int) -> tuple[float, float]:
        return paired_interval(round(worse * number / n), round(better * number / n), number)

    low, high = interval(n)
    loss = Loss(
        measure="accuracy", num_samples=n, loss=(worse - better) / n, low=low, high=high, budget=budget,
        num_worse=worse, num_better=better, p_value=flips_p_value(worse, better),
    )  # fmt: skip
    return _with_deciding(loss, interval)


def _of_agreement(first: Array, other: Array, *, budget: float) -> Loss:
    flips, n = first.argmax(1) != other.argmax(1), len(first)
    top = np.sort(first, axis=1)[:, -2:]
    margins = top[:, 1] - top[:, 0]
    num_flips = int(flips.sum())

    def interval(number: int) -> tuple[float, float]:
        return share_interval(round(num_flips * number / n), number)

    low, high = interval(n)
    loss = Loss(
        measure="agreement", num_samples=n, loss=num_flips / n, low=low, high=high, budget=budget,
        num_worse=num_flips, num_close=int((flips & (margins < np.median(margins))).sum()),
    )  # fmt: skip
    return _with_deciding(loss, interval)


def _of_mean(measure: Measure, values: NDArray[np.float64], *, budget: float) -> Loss:
    values = np.where(np.isfinite(values), values, np.inf)

    def interval(number: int) -> tuple[float, float]:
        return mean_interval(np.resize(values, number))

    low, high = mean_interval(values) if np.isfinite(values).all() else (np.inf, np.inf)
    fields = {"num_samples": len(values), "loss": values.mean(), "low": low, "high": high, "budget": budget}
    loss = Loss(measure=measure, **fields)
    return _with_deciding(loss, interval) if len(values) < MAX_NEIGHBOURHOOD else loss


def _neighbours_lost(first: Array, other: Array) -> NDArray[np.float64]:
    """Share of the nearest neighbours of each embedding that are other ones in the variant."""
    first, other = first[:MAX_NEIGHBOURHOOD], other[:MAX_NEIGHBOURHOOD]
    number = min(NUM_NEIGHBOURS, len(first) - 1)
    if number < 1:
        raise SpecError("One embedding has no neighbours; evaluate on at least two samples, better hundreds.")
    nearest = []
    for embeddings in (first, other):
        lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
        values = embeddings / np.maximum(lengths, 1e-30)
        alike = values @ values.T
        np.fill_diagonal(alike, -np.inf)
        nearest.append(np.argpartition(-alike, number - 1, axis=1)[:, :number])
    kept = [len(np.intersect1d(a, b)) for a, b in zip(*nearest, strict=True)]
    return np.asarray(1 - np.array(kept) / number)


def _with_deciding(loss: Loss, interval: object) -> Loss:
    if loss.verdict != "inconclusive":
        return loss
    number = num_deciding(interval, num_samples=loss.num_samples, budget=loss.budget)  # type: ignore[arg-type]
    return loss.model_copy(update={"num_deciding": number})
