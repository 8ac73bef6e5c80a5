"""Tiny modules whose files other tools might have made: several inputs and outputs, integers, a custom operator."""

import torch
from torch import nn


class Heads(nn.Module):
    """Two outputs of equal shape, without names of their own."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.left, self.right = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return left before right."""
        return self.left(x), self.right(x)


class NamedHeads(Heads):
    """The same outputs, named."""

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:  # type: ignore[override]
        """Return left before right."""
        left, right = super().forward(x)
        return {"left": left, "right": right}


class Blend(nn.Module):
    """Two inputs of equal shape that are not treated alike, and a third that is not looked at."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(4, 3)

    def forward(self, first: torch.Tensor, second: torch.Tensor, ignored: torch.Tensor) -> torch.Tensor:
        """Score the first, less twice the second."""
        return self.layer(torch.tanh(first) - 2 * second)


class Tokens(nn.Module):
    """Integers in."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(20, 8)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Mean embedding of five tokens."""
        return self.embedding(ids).mean(dim=1)


@torch.library.custom_op("assay_tests::shifted", mutates_args=())
def shifted(x: torch.Tensor) -> torch.Tensor:
    """Add one, in float32 only, as hand-written kernels do."""
    if x.dtype != torch.float32:
        raise TypeError(f"expected float32, got {x.dtype}")
    return x + 1.0


class CustomOperator(nn.Module):
    """Calls an operator that has no float64 kernel."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Score what was shifted."""
        return self.layer(torch.ops.assay_tests.shifted(x))
