"""Output dims that are fixed have a number in the file, and those that are not, have none."""

from pathlib import Path

import pytest
import torch
from torch import nn

from tests.core.proof.proving import exported


class Flat(nn.Module):
    """Flattens as old code does; shape inference of a traced graph gives up there."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """All of a row."""
        return x.mean(2, keepdim=True).repeat(1, 1, 4).view(x.size(0), -1)


class Pooled(nn.Module):
    """One value for each 64 of a length, which is one value at all sizes that are tried."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The rest is padding."""
        rest = (x.size(2) + 63) // 64 * 64 - x.size(2)
        padded = nn.functional.pad(x, (0, rest))
        return padded.view(x.size(0), x.size(1), -1, 64).mean(3)


class NonZero(nn.Module):
    """As many rows as values that are not zero: all of them, of random ones."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Where they are, of the first row."""
        return torch.nonzero(x[0, 0, :3]).float() + x.mean()


SIGNAL = ("x=float32[batch,3,length=32]",)


@pytest.mark.parametrize(
    ("model", "dims"),
    [(Flat(), ("batch", 12)), (Pooled(), ("batch", 3, "output_2")), (NonZero(), ("output_0", 1))],
    ids=lambda value: type(value).__name__,
)
def test_a_number_stands_for_what_is_fixed_only(model: nn.Module, dims: tuple[int | str, ...], tmp_path: Path) -> None:
    """Whatever was seen at the sizes that were tried: sizes are followed as symbols."""
    assert exported(model, SIGNAL, tmp_path, exporter="torchscript").graph.outputs[0].dims == dims
