"""What to declare where sizes can't be had: a range that the exporter needs, a fixed batch; a search that ends."""

from pathlib import Path

import pytest
import torch
from torch import nn

from tasks.core.errors import ExportError
from tasks.core.export import fallback
from tasks.core.localisation import search
from tests.core.proof.proving import exported, prove


class Layer(nn.Module):
    """A layer over the last five values; what else happens is said by subclasses."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(5, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """A row for each row."""
        return self.layer(x[:, -5:])  # type: ignore[no-any-return]


class Spectrum(Layer):
    """Pads by reflection, which takes no signal that is shorter than its window; tracing knows no spectrum."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Mean over the frames."""
        return self.layer(torch.stft(x, 8, 4, window=torch.ones(8), return_complex=True).abs().mean(2))  # type: ignore[no-any-return]


class Short(Layer):
    """Takes another way with short signals; tracing knows no spectrum."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Twice as loud from 20 samples."""
        x = x * 2 if x.shape[1] >= 20 else x
        return self.layer(torch.fft.rfft(x[:, -8:]).abs())  # type: ignore[no-any-return]


class Gap(Layer):
    """Refuses what lies just below the sizes that it was made for, and takes what is shorter still."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Another function of short signals."""
        if x.shape[1] < 20:
            if x.shape[1] > 16:
                raise ValueError("too short")
            x = -x
        return self.layer(torch.fft.rfft(x[:, -8:]).abs())  # type: ignore[no-any-return]


class AtMost(Layer):
    """Says itself that it takes 40 values and no more."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """A spectrum, which tracing does not know."""
        if x.shape[1] > 40:
            raise ValueError("too long")
        return self.layer(torch.fft.rfft(x[:, -8:]).abs())  # type: ignore[no-any-return]


class FixedBatch(Layer):
    """Has the batch as a constant."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Rows of the size that was seen first."""
        return super().forward(x).reshape(int(x.shape[0]), 4)


class FixedLength(Layer):
    """Has the length as a constant."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Divided by it."""
        return super().forward(x) / int(x.shape[1])


class FixedBatchAndLength(FixedBatch):
    """Has both as constants."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Divided by the one, reshaped to the other."""
        return super().forward(x) / int(x.shape[1])


class NoExport(Layer):
    """Is refused by both exporters, whatever its sizes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Nothing but a reason while it is exported."""
        if torch.compiler.is_exporting() or torch.jit.is_tracing():
            raise ValueError("no export")
        return super().forward(x)


SIGNAL = ("x=float32[batch,samples=32]",)


@pytest.mark.parametrize(
    ("model", "limits"),
    [pytest.param(Spectrum(), "5..", marks=pytest.mark.slow), pytest.param(AtMost(), "..40", marks=pytest.mark.slow)],
    ids=["low", "high"],
)
def test_limits_that_the_module_has_itself_are_taken(model: nn.Module, limits: str, tmp_path: Path) -> None:
    """A note says so, and the size at the limit is proven, too."""
    file = exported(model, SIGNAL, tmp_path)
    assert file.graph.exporter == "dynamo"
    assert file.graph.notes == (f"samples is limited to {limits}, as the model itself refuses other sizes",)
    evidence = file.prove()
    assert evidence.verdict == "pass", evidence.reasons
    sizes = next(dim.sizes for dim in evidence.dims if dim.name == "samples")
    assert int(limits.strip(".")) in sizes


@pytest.mark.parametrize(
    "model", [Short(), pytest.param(Gap(), marks=pytest.mark.slow)], ids=lambda m: type(m).__name__
)
def test_limits_that_the_module_has_not_are_for_the_user_to_declare(model: nn.Module, tmp_path: Path) -> None:
    """The sentence gives the declaration, which passes."""
    with pytest.raises(ExportError, match=r"dynamo narrowed samples of x to 20\.\.; torchscript failed") as refused:
        exported(model, SIGNAL, tmp_path)
    assert str(refused.value).endswith(
        "with limits dynamo gives a right file: --input 'x=float32[batch=2,samples=32:20..]'."
    )


@pytest.mark.slow
def test_the_declaration_passes(tmp_path: Path) -> None:
    """Word for word."""
    assert prove(Short(), ("x=float32[batch=2,samples=32:20..]",), tmp_path).verdict == "pass"
    assert prove(FixedBatch(), ("x=float32[1,samples=32]",), tmp_path).verdict == "pass"


@pytest.mark.parametrize(
    ("model", "remedy"),
    [
        (FixedBatch(), "with a fixed batch torchscript gives a right file: --input 'x=float32[1,samples=32]'"),
        (FixedLength(), "with a fixed samples torchscript gives a right file: --input 'x=float32[batch=2,32]'"),
        (
            FixedBatchAndLength(),
            "with a fixed batch and samples torchscript gives a right file: --input 'x=float32[1,32]'",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_wrong_file_comes_with_what_would_be_right(model: nn.Module, remedy: str, tmp_path: Path) -> None:
    """The reasons end with the sizes that must be fixed."""
    evidence = prove(model, SIGNAL, tmp_path, exporter="torchscript")
    assert evidence.verdict == "fail"
    assert evidence.reasons[-1] == remedy


@pytest.mark.slow
def test_both_exporters_are_tried_with_a_fixed_batch(tmp_path: Path) -> None:
    """Neither has a dynamic one: dynamo refuses, torchscript is wrong."""
    evidence = prove(FixedBatch(), SIGNAL, tmp_path)
    assert evidence.verdict == "fail"
    assert evidence.reasons[-1] == "with a fixed batch dynamo gives a right file: --input 'x=float32[1,samples=32]'"


def test_what_took_long_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence says that it was not."""
    monkeypatch.setattr(fallback, "MAX_REMEDY_SECONDS", 0.0)
    file = exported(FixedBatch(), SIGNAL, tmp_path, exporter="torchscript")
    assert file.graph.remedy == (
        "with a fixed batch it may pass (not tried, as the exports took 0 s): --input 'x=float32[1,samples=32]'"
    )


def test_nothing_is_promised_that_does_not_help(tmp_path: Path) -> None:
    """A module that no exporter takes at any size."""
    with pytest.raises(ExportError, match=r"torchscript failed with ValueError: no export\.$"):
        exported(NoExport(), SIGNAL, tmp_path, exporter="torchscript")


def test_a_right_file_has_no_remedy(tmp_path: Path) -> None:
    """Nothing is tried where nothing is wrong."""
    assert exported(Layer(), SIGNAL, tmp_path, exporter="torchscript").graph.remedy == ""


def test_the_search_for_the_wrong_node_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The verdict stands without it, and a note says that it was given up."""
    monkeypatch.setattr(search, "SEARCH_SECONDS", -1.0)
    evidence = prove(FixedLength(), SIGNAL, tmp_path, exporter="torchscript")
    assert (evidence.verdict, evidence.blame) == ("fail", None)
    assert "where the file goes wrong was not found within -1 s" in evidence.notes
