"""What is said of a classifier or a segmenter: on arrays small enough to count by hand."""

import numpy as np
import pytest

from tasks.core.arrays import Array
from tasks.core.proof.observations import TaskMetrics
from tasks.core.proof.parity import OutputRuns


def _scores(*rows: list[float]) -> Array:
    return np.array(rows, dtype=np.float32)


def _metrics(onnx: Array, torch32: Array, float64: Array | None = None) -> dict[str, float]:
    metrics = TaskMetrics()
    exact = (torch32 if float64 is None else float64).astype(np.float64)
    metrics.add(OutputRuns(onnx=[onnx], torch32=torch32, perturbed=[], float64=exact))
    return metrics.result()


def test_equal_scores_agree() -> None:
    """A file that gives the same scores agrees in each row, without any flip."""
    scores = np.random.default_rng(0).standard_normal((4, 10)).astype(np.float32)
    assert _metrics(scores, scores) == {"top1_agreement": 1.0, "top1_flip_margin": 0.0, "top5_agreement": 1.0}


def test_a_flip_counts_with_its_margin() -> None:
    """One row of two has another winner; the margin is float64's between both classes, relative to all scores' rms."""
    wanted = _scores([3.0, 1.0], [1.0, 3.0])
    found = _scores([3.0, 1.0], [3.0, 1.0])
    metrics = _metrics(found, wanted)
    assert metrics["top1_agreement"] == 0.5
    assert metrics["top1_flip_margin"] == pytest.approx(2.0 / np.sqrt(5.0))


def test_the_largest_margin_of_all_probes_is_kept() -> None:
    """Rows of all probes and optimisation levels are counted together."""
    metrics = TaskMetrics()
    close, far = _scores([1.0, 1.001]), _scores([1.0, 2.0])
    for wanted in (far, close):
        metrics.add(OutputRuns([wanted, wanted[:, ::-1]], wanted, [], wanted.astype(np.float64)))
    assert metrics.result()["top1_agreement"] == 0.5
    assert metrics.result()["top1_flip_margin"] == pytest.approx(1.0 / np.sqrt(2.5))


def test_five_best_are_compared_as_a_set() -> None:
    """Their order says nothing; one of five that is another one makes 0.8."""
    wanted = _scores([9, 8, 7, 6, 5, 1, 0])
    reordered = _scores([5, 6, 7, 8, 9, 1, 0])
    assert _metrics(reordered, wanted)["top5_agreement"] == 1.0
    other = _scores([9, 8, 7, 6, 1, 5, 0])
    assert _metrics(other, wanted)["top5_agreement"] == pytest.approx(0.8)
    assert "top5_agreement" not in _metrics(wanted[:, :5], wanted[:, :5]), "five classes are always the five best"


def test_masks_overlap_by_the_worst_class() -> None:
    """Of four pixels one goes to the other class: 2 of 3 are shared by one class, 1 of 2 by the other."""
    wanted = np.zeros((1, 2, 2, 2), dtype=np.float32)
    wanted[0, 1] = [[1, 1], [1, -1]]
    found = wanted.copy()
    found[0, 1, 0, 0] = -1
    assert _metrics(wanted, wanted) == {"mask_iou": 1.0}
    assert _metrics(found, wanted)["mask_iou"] == pytest.approx(0.5)


def test_a_class_that_only_the_file_gives_counts() -> None:
    """A third class where PyTorch sees none has an intersection of nothing."""
    wanted = np.zeros((1, 3, 2, 2), dtype=np.float32)
    wanted[:, 0] = 1
    found = wanted.copy()
    found[0, 2, 0, 0] = 5
    assert _metrics(found, wanted)["mask_iou"] == 0.0


@pytest.mark.parametrize("are_logits", [True, False], ids=["logits", "probabilities"])
def test_a_lone_map_is_cut_in_the_middle(are_logits: bool) -> None:
    """A single channel is a mask where it is above 0 as a logit, above 0.5 as a probability."""
    logits = np.array([[[[2.0, 0.1], [-0.1, -2.0]]]], dtype=np.float32)
    other = np.array([[[[2.0, -0.1], [-0.1, -2.0]]]], dtype=np.float32)
    wanted, found = (logits, other) if are_logits else (1 / (1 + np.exp(-a)) for a in (logits, other))
    assert _metrics(wanted, wanted)["mask_iou"] == 1.0
    assert _metrics(found, wanted)["mask_iou"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((2, 1), np.float32),
        np.zeros((2, 5), np.int64),
        np.zeros((0, 5), np.float32),
        np.zeros((2, 5, 7), np.float32),
        np.zeros((2, 5, 1, 1), np.float32),
        np.zeros((1, 2048, 4, 4), np.float32),
    ],
    ids=["one score", "integers", "no rows", "tokens", "lone pixels", "features"],
)
def test_other_outputs_have_no_task(array: Array) -> None:
    """What is no list of scores and no map of them stays without."""
    assert _metrics(array, array) == {}
