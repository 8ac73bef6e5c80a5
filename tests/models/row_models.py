"""Modules whose answer to a row of the batch depends on that row alone, or on others, too."""

import torch
from torch import nn


class Apart(nn.Module):
    """Answers each row by itself."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(8, 100)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """From x [batch, 8]."""
        return torch.tanh(self.layer(x))


class Summed(Apart):
    """An output without a batch."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """From x [batch, 8]."""
        return super().forward(x).sum(dim=0)
