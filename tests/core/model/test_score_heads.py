"""Score heads of detectors are shifted to where the threshold that they are held against lets some pass."""

import pytest
import torch
from torch import nn

from tasks.core.model.random_weights import build_with_random_weights
from tasks.core.model.score_heads import MAX_BOXES, MIN_BOXES, NUM_BOXES, NUM_CANDIDATES, _reach, next_num_candidates


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


class Rooted(nn.Module):
    """Compares the root of class times centerness, as FCOS does; classes are far apart before they are calibrated."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 16, 3, stride=2)
        self.classes, self.centerness = nn.Conv2d(16, 5, 1), nn.Conv2d(16, 1, 1)
        with torch.no_grad():
            self.classes.bias += torch.arange(5) * 4.0

    def forward(self, images: list[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        """All that passes the threshold."""
        found = []
        for image in images:
            features = torch.relu(self.body(image[None]))
            classes, centerness = (
                head(features)[0].flatten(1).transpose(0, 1) for head in (self.classes, self.centerness)
            )
            scores = torch.sqrt(torch.sigmoid(classes) * torch.sigmoid(centerness)).flatten()
            kept = scores > 0.2
            found.append({"boxes": scores[kept][:, None].expand(-1, 4), "scores": scores[kept]})
        return found


def test_a_root_of_a_product_reaches_its_threshold_at_once() -> None:
    """Every picture has about as many boxes as candidates were wanted, of every class."""
    generator = torch.Generator().manual_seed(0)
    pictures = [torch.rand(3, 64, 64, generator=generator) for _ in range(6)]
    module = build_with_random_weights(Rooted, lambda _: ((pictures[:3],), {}), seed=0)
    with torch.no_grad():
        counts = [len(found["scores"]) for found in module(pictures)]
        logits = module.classes(torch.relu(module.body(torch.stack(pictures)))).mean((0, 2, 3))
    assert all(NUM_CANDIDATES / 4 < count < NUM_CANDIDATES * 4 for count in counts), counts
    assert float(logits.max() - logits.min()) < 0.5
