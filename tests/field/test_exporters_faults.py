"""What PyTorch's exporters get wrong by themselves: the file fails, and the sentence says where it goes wrong."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import interpolate

from tests.core.proof.proving import prove


class Resized(nn.Module):
    """Antialiased resizing to given sizes, which is exported right, and by a factor, which is not."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Smaller pictures."""
        return (
            interpolate(x, size=(7, 9), mode="bicubic", antialias=True),
            interpolate(x, size=(7, 9), mode="bilinear", antialias=True),
            interpolate(x, scale_factor=0.37, mode="bilinear", antialias=True),
        )


class Encoded(nn.Module):
    """Padded sequences in PyTorch's fast path; ONNX Runtime runs the file at the traced batch size only."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2)

    def forward(self, x: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """All positions."""
        return self.encoder(x, src_key_padding_mask=hidden)  # type: ignore[no-any-return]


class Projected(nn.Module):
    """A bidirectional GRU, and an LSTM with a projection, which ONNX has not."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.gru, self.lstm = nn.GRU(6, 5, num_layers=2, bidirectional=True), nn.LSTM(10, 4, proj_size=3)

    def forward(self, x: torch.Tensor, start: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Sequences and last states."""
        y, last = self.gru(x, start + torch.zeros(4, x.size(1), 5))
        z, (hidden, cell) = self.lstm(y)
        return z, last, hidden, cell


@pytest.mark.parametrize(
    ("model", "inputs", "said"),
    [
        (Resized(), ("x=float32[batch,3,20,24]",), "output_2 is off by"),
        pytest.param(
            Encoded(),
            ("x=float32[batch,length=9:2..,8]", "hidden=bool[batch,length]"),
            "ONNX Runtime refuses it: at batch=1",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            Projected(),
            ("x=float32[length=7,batch=2,6]", "h0=float32[4,batch=2,5]"),
            "Inferred shape and existing shape differ",
            marks=pytest.mark.slow,
        ),
    ],
    ids=["resized", "encoded", "projected"],
)
def test_the_file_fails(model: nn.Module, inputs: tuple[str, ...], said: str, tmp_path: Path) -> None:
    """Whether by its values or by what ONNX Runtime and the checker say."""
    evidence = prove(model, inputs, tmp_path)
    assert evidence.verdict == "fail"
    assert said in evidence.reasons[0]
