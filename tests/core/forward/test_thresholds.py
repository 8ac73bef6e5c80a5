"""What decides how many items a module gives is noted while it runs."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision

from tasks.core.forward.outputs import Thresholds


def _thresholds(run: Callable[[torch.Tensor], Any]) -> Thresholds:
    thresholds = Thresholds()
    with thresholds:
        run(torch.tensor([0.2, 0.9, 0.7]))
    return thresholds


@pytest.mark.parametrize(
    ("run", "is_sized"),
    [
        (lambda x: x[x > 0.5], True),
        (lambda x: torch.where(x > 0.5)[0], True),
        (lambda x: x[torch.tensor([0, 2])], False),
        (lambda x: x.topk(2), False),
        (lambda x: torch.where(x > 0.5, x, 0.0), False),
    ],
    ids=["mask", "nonzero", "indices", "top two", "choice"],
)
def test_only_results_of_unknown_size_are_sized_by_data(run: Callable[[torch.Tensor], Any], is_sized: bool) -> None:
    """A mask decides how many there are, indices and choices do not."""
    assert _thresholds(run).sizes_by_data == is_sized


def test_thresholds_of_scores_and_suppression_are_noted() -> None:
    """Numbers that scores are compared with, and limits of overlap; integers are no scores."""
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [50, 50, 60, 60]])

    def run(scores: torch.Tensor) -> None:
        assert (scores > 0.25).any()
        assert (torch.arange(3) > 1).any()
        torchvision.ops.nms(boxes, scores, 0.45)

    thresholds = _thresholds(run)
    assert (thresholds.scores, thresholds.overlaps, thresholds.sizes_by_data) == ({0.25}, {0.45}, True)
