"""Models of few, wide blocks: many bytes of weights for little arithmetic, to measure memory with."""

import torch
from torch import nn


class WideBlock(nn.Module):
    """A residual block of two layers, as after the attention of a transformer: 8 x width^2 weights."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 4 * width)
        self.contract = nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add what the two layers make of the normalised values."""
        added: torch.Tensor = self.contract(torch.relu(self.expand(self.norm(x))))
        return x + added


class WideMLP(nn.Module):
    """Four wide blocks: 128 x width^2 bytes of float32 weights, 2.28 GB at the default width."""

    def __init__(self, width: int = 4224) -> None:
        super().__init__()
        self.stem = nn.Linear(64, width)
        self.blocks = nn.Sequential(*(WideBlock(width) for _ in range(4)))
        self.head = nn.Linear(width, 100)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Scores of 100 classes."""
        scores: torch.Tensor = self.head(self.blocks(self.stem(features)))
        return scores
