"""Tiny detectors: outputs sized by data."""

import torch
import torchvision
from torch import nn


class Detector(nn.Module):
    """A convolution, a box and two class scores a cell, a score threshold, suppression by class."""

    threshold = 0.5

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 16, 3, stride=4, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1))
        self.boxes = nn.Conv2d(16, 4, 1)
        self.scores = nn.Conv2d(16, 2, 1)
        with torch.no_grad():
            self.scores.weight.mul_(12)
            self.boxes.weight.mul_(3)

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        """Find items in one picture [1, 3, height, width]."""
        features = torch.relu(self.body(image))
        height, width = features.shape[-2:]
        y, x = torch.meshgrid(torch.arange(height) * 4.0, torch.arange(width) * 4.0, indexing="ij")
        centres = torch.stack([x, y], dim=-1).reshape(-1, 2)
        raw = self.boxes(features)[0].permute(1, 2, 0).reshape(-1, 4)
        sides = torch.exp(raw[:, 2:].clamp(-1, 1)) * 8
        middle = centres + raw[:, :2]
        boxes = torch.cat([middle - sides / 2, middle + sides / 2], dim=1)
        best, labels = torch.sigmoid(self.scores(features))[0].permute(1, 2, 0).reshape(-1, 2).max(dim=1)
        kept = torch.where(self.found(image, best))[0]
        boxes, best, labels = boxes[kept], best[kept], labels[kept]
        kept = torchvision.ops.nms(boxes + labels[:, None] * 4096.0, best, 0.4)
        return {"boxes": boxes[kept], "scores": best[kept], "labels": labels[kept]}

    def found(self, image: torch.Tensor, best: torch.Tensor) -> torch.Tensor:
        """Which cells hold an item, before suppression: bool [cells]."""
        return best > self.threshold


class Blind(Detector):
    """Finds nothing, whatever it is shown."""

    threshold = 1.5


class Glared(Detector):
    """Finds nothing on ordinary pictures, and one item on a glaring one."""

    def found(self, image: torch.Tensor, best: torch.Tensor) -> torch.Tensor:
        """The best cell, if some value of the picture lies far outside a unit normal."""
        return (best >= best.max()) & (image.abs().max() > 12)


class ListDetector(Detector):
    """Takes a list of pictures and gives a list of answers, as torchvision's detectors do."""

    def forward(self, images: list[torch.Tensor], targets: object = None) -> list[dict[str, torch.Tensor]]:  # type: ignore[override]
        """Find items in each picture [3, height, width]."""
        return [super(ListDetector, self).forward(image[None]) for image in images]


class OneImage(nn.Module):
    """A detector of torchvision for one picture [3, height, width], its answer as it gives it."""

    def __init__(self, name: str = "ssdlite320_mobilenet_v3_large", **arguments: object) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.model = torchvision.models.get_model(name, weights=None, weights_backbone=None, **arguments)

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        """Find items."""
        return self.model([image])[0]
