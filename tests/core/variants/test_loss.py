"""What is measured follows from the labels and the outputs, and is counted right."""

import numpy as np
import pytest

from tasks.core.errors import SpecError
from tasks.core.records.variants import Loss, Measure
from tasks.core.variants.data import Batch
from tasks.core.variants.loss import loss_of

RNG = np.random.default_rng(0)


def _loss(
    first: np.ndarray,
    other: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    budget: float = 0.01,
    measure: Measure | None = None,
) -> Loss:
    batches = [Batch({"x": first}, labels)]
    return loss_of(batches, [[first]], [[other]], budget=budget, measure=measure)


def _scores(classes: np.ndarray) -> np.ndarray:
    return np.eye(5, dtype=np.float32)[classes]


def test_accuracy_is_paired() -> None:
    """Right to wrong and back are counted apart; the loss is their difference."""
    labels = RNG.integers(0, 5, 1000)
    answers, others = labels.copy(), labels.copy()
    answers[:100] += 1  # wrong in the proven file
    others[20:100] += 1  # of which the variant gets 20 right
    others[200:230] += 1  # and 30 others wrong
    loss = _loss(_scores(answers % 5), _scores(others % 5), labels)
    assert (loss.measure, loss.num_worse, loss.num_better) == ("accuracy", 30, 20)
    assert loss.loss == pytest.approx(0.01)
    assert loss.verdict == "inconclusive"
    assert loss.num_deciding is None or loss.num_deciding > 1000
    assert loss.p_value == pytest.approx(0.2026, abs=0.001)


def test_enough_samples_decide() -> None:
    """The same shares pass, fail or decide nothing, as the number of samples has it."""
    labels = np.zeros(10_000, dtype=int)
    few, many = labels.copy(), labels.copy()
    few[:20], many[:300] = 1, 1
    assert _loss(_scores(labels), _scores(few), labels).verdict == "pass"
    assert _loss(_scores(labels), _scores(many), labels).verdict == "fail"
    assert _loss(_scores(labels[:300]), _scores(labels[:300]), labels[:300]).verdict == "inconclusive"
    undecided = _loss(_scores(labels[:300]), _scores(labels[:300]), labels[:300])
    assert undecided.num_deciding == pytest.approx(381, abs=10)


def test_without_labels_flips_are_counted() -> None:
    """Each flip may be a loss; flips of close calls are told apart."""
    first = np.zeros((1000, 3), dtype=np.float32)
    first[:, 0], first[:, 1] = 1, np.linspace(0, 0.999, 1000)
    other = first.copy()
    other[-5:, 1] += 0.1
    loss = _loss(first, other)
    assert (loss.measure, loss.num_worse, loss.num_close) == ("agreement", 5, 5)
    assert loss.low < 0.005 < loss.high


def test_embeddings_keep_their_neighbours() -> None:
    """Rows of length one are embeddings: equal ones lose nothing, shuffled ones nearly all."""
    first = RNG.standard_normal((400, 16)).astype(np.float32)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    assert _loss(first, first * (1 + 1e-6)).loss == 0
    assert _loss(first, first[::-1]).measure == "neighbours"
    assert _loss(first, first[::-1]).loss > 0.9


def test_other_outputs_have_a_relative_error() -> None:
    """A sample off by a hundredth loses one per cent; what is not finite loses all."""
    first = RNG.standard_normal((50, 3, 4, 4)).astype(np.float32)
    assert _loss(first, first * 1.01, budget=0.05).loss == pytest.approx(0.01, rel=1e-3)
    broken = first.copy()
    broken[3] = np.nan
    assert _loss(first, broken, budget=0.05).verdict == "fail"


def test_labels_must_be_classes() -> None:
    """Numbers beyond the outputs are no labels."""
    with pytest.raises(SpecError, match="Labels are numbers of classes"):
        _loss(_scores(np.zeros(10, dtype=int)), _scores(np.zeros(10, dtype=int)), np.full(10, 7))


def test_labels_that_the_surest_answers_contradict_are_told() -> None:
    """Where a twentieth of the labels is wrong the paired loss is as before, so the claim says it."""
    labels = RNG.integers(0, 5, 1000)
    scores = 5 * _scores(labels) + RNG.standard_normal((1000, 5)).astype(np.float32) * 0.1
    assert _loss(scores, scores, labels).doubt == ""
    noisy = np.where(RNG.random(1000) < 0.05, (labels + 1) % 5, labels)
    loss = _loss(scores, scores, noisy)
    assert loss.loss == 0
    assert loss.num_doubtful == pytest.approx(25, abs=12)
    assert f"of the 500 samples of which the proven file is surest, {loss.num_doubtful} bear another" in loss.doubt


def _masks(classes: np.ndarray) -> np.ndarray:
    return np.moveaxis(_scores(classes), -1, 1)


def test_masks_lose_overlap() -> None:
    """With the proven file's masks, or with the labels as well as these; where no class is meant, nothing is lost."""
    truth = np.zeros((40, 8, 8), dtype=int)
    truth[:, 4:] = 1
    worse = truth.copy()
    worse[:, 3] = 1  # of class 0: 24 of 32 pixels; of class 1: 32 of 40
    lost = 1 - (24 / 32 + 32 / 40) / 2
    loss = _loss(_masks(truth), _masks(worse), budget=0.5, measure="masks")
    assert (loss.measure, loss.verdict) == ("masks", "pass")
    assert loss.loss == pytest.approx(lost)
    assert _loss(_masks(truth), _masks(worse), truth, budget=0.5).loss == pytest.approx(lost)
    assert _loss(_masks(worse), _masks(truth), truth, budget=0.5).loss == pytest.approx(-lost)
    unknown = np.where(worse != truth, 255, truth)
    assert _loss(_masks(truth), _masks(worse), unknown, budget=0.5).loss == 0
    sizes = [(truth, worse), (truth[:, :6], worse[:, :6])]  # pictures of two sizes
    batches = [Batch({"x": a}, a) for a, _ in sizes]
    wanted, found = ([[_masks(pair[i])] for pair in sizes] for i in (0, 1))
    assert loss_of(batches, wanted, found, budget=0.5).num_samples == 80
    with pytest.raises(SpecError, match="Labels are the class of each pixel"):
        _loss(_masks(truth), _masks(worse), truth[:, :4], budget=0.5)
    with pytest.raises(SpecError, match=r"needs an output such as float32\[batch, classes, height, width\]"):
        _loss(_scores(truth[:, 0, 0]), _scores(truth[:, 0, 0]), measure="masks")


def test_a_measure_may_be_asked_for() -> None:
    """Embeddings of any length, four numbers that are no classes; a measure that does not fit is said."""
    first = RNG.standard_normal((100, 8)).astype(np.float32)
    assert _loss(first, first * 3, measure="neighbours").loss == 0
    assert _loss(first, first * 1.01, measure="relative-error").loss == pytest.approx(0.01, rel=1e-3)
    assert _loss(first, first, np.zeros(100, dtype=int), measure="agreement").measure == "agreement"
    with pytest.raises(SpecError, match="accuracy needs labels"):
        _loss(first, first, measure="accuracy")
    with pytest.raises(SpecError, match="needs an output such as"):
        _loss(first.reshape(100, 2, 4), first.reshape(100, 2, 4), measure="agreement")


def test_states_of_tokens_are_pooled_by_the_mask() -> None:
    """Padding has no part in an embedding; batches may have their own lengths."""
    batches, wanted, found = [], [], []
    for length in (5, 7):
        states = RNG.standard_normal((30, length, 8)).astype(np.float32)
        mask = (np.arange(length) < RNG.integers(1, length + 1, size=(30, 1))).astype(np.int64)
        batches.append(Batch({"ids": mask, "attention_mask": mask}, None))
        wanted.append([states])
        found.append([np.where(mask[..., None] == 1, states, 100).astype(np.float32)])
    assert loss_of(batches, wanted, found, budget=0.1, measure="neighbours").loss == 0
    assert loss_of(batches[:1], wanted[:1], [[wanted[0][0][::-1]]], budget=0.1, measure="neighbours").loss > 0.5
    assert loss_of(batches, wanted, wanted, budget=0.1).measure == "relative-error"
