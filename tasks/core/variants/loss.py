"""What a variant costs the task: its answers and the proven file's, on the same samples."""

from collections.abc import Iterable, Sequence

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
_PIXELS = "classes, height, width"
_UNIT = 1e-3
"""By which the length of an embedding may differ from 1."""


def loss_of(
    batches: Iterable[Batch],
    wanted: Sequence[Outputs],
    found: Sequence[Outputs],
    *,
    budget: float,
    measure: Measure | None = None,
) -> Loss:
    """Measure the loss.

    Args:
        batches: with or without labels; gone through as often as needed.
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
    given = _labels_of(batches)
    shape = f"the first output is {first.dtype}{list(first.shape)}"
    are_scores = first.ndim == 4 and first.shape[1] > 1 and first.dtype.kind == "f"  # of each pixel
    for fits, form, measures in ((is_table, "classes", ("agreement", "neighbours")), (are_scores, _PIXELS, ("masks",))):
        if measure in measures and not fits:
            raise SpecError(f"The measure {measure} needs an output such as float32[batch, {form}], but {shape}.")
    if measure == "accuracy" and given is None:
        raise SpecError(f"The measure accuracy needs {LABELS} among the samples, the right class of each.")
    measure = measure or _measure_of(first, given, is_table=is_table, are_scores=are_scores)
    if measure == "masks":
        return _of_masks(batches, *firsts, budget=budget)
    if measure == "relative-error":  # lengths may differ from batch to batch
        errors = np.concatenate([_relative_errors(a, b) for a, b in zip(*firsts, strict=True)])
        return _of_mean(measure, errors, budget=budget)
    first, other = (np.concatenate(each) for each in firsts)
    if measure == "neighbours":
        return _of_mean(measure, _neighbours_lost(first, other), budget=budget)
    if measure == "agreement":
        return _of_agreement(first, other, budget=budget)
    assert given is not None
    labels = given[0] if any(part.ndim != 1 for part in given) else np.concatenate(given)
    if not is_table or labels.ndim != 1 or labels.dtype.kind not in "iu" or labels.max() >= first.shape[1]:
        raise SpecError(f"Labels are numbers of classes, one a sample, for an output such as [batch, classes]; "
                        f"{shape}, and labels {labels.dtype}{list(labels.shape)}.")  # fmt: skip
    loss = _of_accuracy(first.argmax(1) == labels, other.argmax(1) == labels, budget=budget)
    margins = _margins(first)
    surest = margins >= np.median(margins)
    doubtful = int((surest & (first.argmax(1) != labels)).sum())
    return loss.model_copy(update={"num_surest": int(surest.sum()), "num_doubtful": doubtful})


def _labels_of(batches: Iterable[Batch]) -> list[Array] | None:
    """The labels a batch; None: there are none."""
    return [batch.labels for batch in batches if batch.labels is not None] or None


def _pooled(states: Array, batch: Batch) -> Array:
    """The mean over the tokens of each row; of those that count, where an input is a mask of them."""
    masks = [array for name, array in batch.arrays.items() if "mask" in name and array.shape == states.shape[:2]]
    weights = masks[0].astype(np.float32) if masks else np.ones(states.shape[:2], np.float32)
    total = (states * weights[..., None]).sum(axis=1)
    return np.asarray(total / np.maximum(weights.sum(axis=1, keepdims=True), 1))


def _measure_of(first: Array, labels: list[Array] | None, *, is_table: bool, are_scores: bool) -> Measure:
    if labels is not None:
        return "masks" if are_scores and labels[0].ndim == 3 else "accuracy"
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
    margins = _margins(first)
    num_flips = int(flips.sum())

    def interval(number: int) -> tuple[float, float]:
        return share_interval(round(num_flips * number / n), number)

    low, high = interval(n)
    loss = Loss(
        measure="agreement", num_samples=n, loss=num_flips / n, low=low, high=high, budget=budget,
        num_worse=num_flips, num_close=int((flips & (margins < np.median(margins))).sum()),
    )  # fmt: skip
    return _with_deciding(loss, interval)


def _margins(scores: Array) -> Array:
    """By how much the first choice is ahead of the second, a row."""
    top = np.sort(scores, axis=1)[:, -2:]
    return np.asarray(top[:, 1] - top[:, 0])


def _of_masks(batches: Iterable[Batch], first: list[Array], other: list[Array], *, budget: float) -> Loss:
    """By the mean overlap of the classes of a sample: with the labels as the proven file's has it, else with that."""
    lost = list[float]()
    for batch, scores, found in zip(batches, first, other, strict=True):
        masks, others = scores.argmax(1), found.argmax(1)
        if batch.labels is not None and batch.labels.shape != masks.shape:
            raise SpecError(
                f"Labels are the class of each pixel, int[batch, height, width]; the masks are {list(masks.shape)}, "
                f"and labels {batch.labels.dtype}{list(batch.labels.shape)}."
            )
        truth, num = masks if batch.labels is None else batch.labels, scores.shape[1]
        lost += [
            mean_iou(a, t, num_classes=num) - mean_iou(b, t, num_classes=num)
            for a, b, t in zip(masks, others, truth, strict=True)
        ]
    return _of_mean("masks", np.array(lost), budget=budget)


def mean_iou(found: Array, wanted: Array, *, num_classes: int) -> float:
    """Intersection over union of two masks, the mean over the classes that either has.

    Args:
        found: int [height, width], the class of each pixel.
        wanted: likewise; what is no class of the model is not counted, as 255 in VOC.
        num_classes: of the model.
    """
    counts = (wanted >= 0) & (wanted < num_classes)
    found, wanted = found[counts], wanted[counts]
    classes = np.union1d(found, wanted)
    each = [((found == c) & (wanted == c)).sum() / ((found == c) | (wanted == c)).sum() for c in classes]
    return float(np.mean(each)) if each else 1.0


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
