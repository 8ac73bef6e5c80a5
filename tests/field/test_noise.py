"""What the exporters print is no result, whoever prints it; what the model is worth is said as before."""

from pathlib import Path

import pytest
import torch
from torch import nn

from tests.core.proof.proving import exported
from tests.models.python_files import made, write


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


@pytest.mark.usefixtures("imports_as_before")
def test_a_frozen_place_is_the_models_own_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the value is made Python's in a library that the model's code calls."""
    library = write(tmp_path / "site-packages", a_library="def limit(x): return float(x.max())\n")
    monkeypatch.syspath_prepend(library)
    own = """
        from a_library import limit
        from torch import nn

        class Net(nn.Module):
            def forward(self, x):
                return x / 2 if limit(x) > 100 else x
    """
    model = made(f"{write(tmp_path, own_net=own)}/own_net.py:Net")
    graph = exported(model, ("x=float32[batch,4]",), tmp_path, exporter="torchscript").graph
    assert graph.notes == ("tracing froze a Python value at own_net.py:7",)
    assert graph.branches == ("own_net.py:7",)
