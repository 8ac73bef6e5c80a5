"""A small CNN that reads handwritten digits."""

import torch
from torch import nn


class DigitsCNN(nn.Module):
    """Scores of the ten digits from an image of 8 x 8 grey values."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
        )
        self.classifier = nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(8 * width, 10))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Score the digits.

        Args:
            image: float32 [batch, 1, 8, 8], grey values of 0 to 16.

        Returns:
            float32 [batch, 10], one logit a digit.
        """
        scores: torch.Tensor = self.classifier(self.features(image / 16.0))
        return scores
