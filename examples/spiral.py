"""A small classifier of two spirals, and how it is trained: `python examples/spiral.py` writes spiral.pth."""

import sys

import torch
from torch import nn


class Spiral(nn.Module):
    """Which of two spirals does a point lie on?"""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 2)
        )

    def forward(self, point: torch.Tensor) -> torch.Tensor:
        """Scores of both spirals, float32 [batch, 2], of points in [-1, 1]."""
        scores: torch.Tensor = self.layers(point)
        return scores


def main(seed: int) -> None:
    """Train for some seconds, and save the weights."""
    torch.manual_seed(seed)
    angle = 6 * torch.rand(2000)
    spiral = torch.randint(2, (2000,))
    turned = angle + torch.pi * spiral
    points = (angle / 6)[:, None] * torch.stack([turned.cos(), turned.sin()], dim=1)
    model = Spiral()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(400):
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(model(points), spiral)
        loss.backward()
        optimiser.step()
    right = (model(points).argmax(1) == spiral).float().mean()
    torch.save(model.state_dict(), "spiral.pth")
    print(f"spiral.pth: {right:.1%} of the points are right")


if __name__ == "__main__":
    main(seed=int(sys.argv[1]) if len(sys.argv) > 1 else 0)
