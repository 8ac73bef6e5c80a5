"""Score heads of detectors are shifted to where the threshold that they are held against lets some pass."""

import pytest
import torch

from tasks.core.score_heads import MAX_BOXES, MIN_BOXES, NUM_BOXES, _reach, next_num_candidates


@pytest.mark.parametrize("threshold", [0.001, 0.05, 0.2])
def test_a_shift_by_its_reach_puts_a_score_at_the_threshold(threshold: float) -> None:
    """Of a sigmoid the logit falls, of a softmax that of the background rises, until the score is the threshold."""
    logits = torch.randn(50, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.allclose(torch.sigmoid(logits - _reach(logits, threshold)), torch.tensor(threshold).double())
    classes = torch.randn(50, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for row, reach in zip(classes, _reach(classes, threshold), strict=True):
        for index in range(3):
            if reach[index] < -60:
                continue  # no background, however faint, would let this class reach the threshold
            shifted = row + torch.tensor([float(reach[index]), 0, 0, 0])
            assert float(torch.softmax(shifted, 0)[index + 1]) == pytest.approx(threshold)


def test_the_middle_image_decides() -> None:
    """Enough boxes on the middle image and some on each will do; else as many more or fewer candidates are tried."""
    assert next_num_candidates([1, MIN_BOXES, 300], 100) is None
    assert next_num_candidates([0, MAX_BOXES], 100) == 100 * NUM_BOXES // MAX_BOXES
    assert next_num_candidates([300] * 4, 90) == 90 // 8  # full lists
    assert next_num_candidates([0, 0, 0], 100) == 400
