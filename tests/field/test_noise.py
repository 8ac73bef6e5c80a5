"""What the exporters print is no result, whoever prints it; what the model is worth is said as before."""

from pathlib import Path

import pytest
import torch
from torch import nn

from tests.core.proof.proving import exported


class Antialiased(nn.Module):
    """Resizes with antialiasing, for which the older exporter has no operator."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Smaller."""
        return nn.functional.interpolate(x, size=(7, 9), mode="bilinear", antialias=True)


def test_a_graph_that_cannot_be_converted_is_not_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """PyTorch writes pages of it to the descriptor of standard output, past Python's own."""
    with pytest.raises(Exception, match="could not be exported: torchscript failed with"):
        exported(Antialiased(), ("x=float32[batch,3,20,24]",), tmp_path, exporter="torchscript")
    assert capfd.readouterr().out == ""
