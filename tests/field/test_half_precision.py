"""A float16 module has a noise of its own; its true file passes, a wrong one fails, and bfloat16 is one sentence."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.core.proof.proving import exported, led_through
from tests.field.traced import traced

FEATURES = ("x=float16[batch,16]",)
SINGLE = ("x=float32[batch,16]",)
Function = Callable[[torch.Tensor], torch.Tensor]


class Pictures(nn.Module):
    """Convolution, mean, layer norm and linear layer in one dtype, whatever the input's."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.dtype = dtype
        self.first, self.norm = nn.Conv2d(3, 8, 3, dtype=dtype), nn.LayerNorm(8, dtype=dtype)
        self.last = nn.Linear(8, 5, dtype=dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores."""
        x = torch.relu(self.first(x.to(self.dtype))).mean((2, 3))
        return self.last(self.norm(x))  # type: ignore[no-any-return]


class Layers(nn.Module):
    """Two linear layers with a function in between, in half precision."""

    def __init__(self, function: Function = torch.relu) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last, self.function = nn.Linear(16, 32).half(), nn.Linear(32, 5).half(), function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores."""
        return self.last(self.function(self.first(x)))  # type: ignore[no-any-return]


class HalfInside(Layers):
    """A float32 module whose second layer is in half precision."""

    def __init__(self) -> None:
        super().__init__()
        self.first.float()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """There and back."""
        return self.last(self.function(self.first(x)).half()).float()  # type: ignore[no-any-return]


class HalfCast(HalfInside):
    """A float32 module that rounds to half precision once, and has no weights in it."""

    def __init__(self) -> None:
        super().__init__()
        self.float()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Through half precision."""
        return self.last(self.function(self.first(x)).half().float())  # type: ignore[no-any-return]


def _scaled(factor: float, dtype: type[np.floating]) -> Callable[..., None]:
    return led_through("output", "Mul", np.array([factor], dtype=dtype))


def test_a_true_file_of_a_half_module_passes(tmp_path: Path) -> None:
    """It is nearer to float64 than PyTorch is."""
    evidence = traced(Pictures(torch.float16), ("x=float16[batch,3,10,10]",), tmp_path).prove()
    assert evidence.verdict == "pass", evidence.reasons
    assert 1e-4 < evidence.outputs[0].families[0].torch_relative_error < 1e-2
    assert evidence.outputs[0].noise_ratio < 1


@pytest.mark.slow
@pytest.mark.parametrize("inputs", ["x=float16[batch,3,10,10]", "x=float32[batch,3,10,10]"])
def test_a_wrong_file_of_a_half_module_fails(inputs: str, tmp_path: Path) -> None:
    """A factor of 1.02 is beyond the noise of half, whatever the dtype of the input."""
    file = traced(Pictures(torch.float16), (inputs,), tmp_path)
    assert file.prove().verdict == "pass"
    evidence = file.prove(mutate=_scaled(1.02, np.float16))
    assert evidence.verdict == "fail"
    assert "times the noise of float16" in evidence.reasons[0]


@pytest.mark.slow
@pytest.mark.parametrize("model", [HalfInside(), HalfCast()], ids=lambda model: type(model).__name__)
def test_a_float32_module_with_a_part_in_half_passes(model: nn.Module, tmp_path: Path) -> None:
    """Its noise is that of half, and only a larger error is seen."""
    file = traced(model, SINGLE, tmp_path)
    evidence = file.prove()
    assert evidence.verdict == "pass", evidence.reasons
    assert file.prove(mutate=_scaled(1.02, np.float32)).verdict == "fail"


@pytest.mark.slow
@pytest.mark.parametrize(
    "function",
    [
        functional.silu,
        lambda x: functional.gelu(x, approximate="tanh"),
        lambda x: torch.softmax(x, -1),
        lambda x: functional.normalize(x, dim=-1),
        lambda x: x * torch.rsqrt(x.float().square().mean(-1, keepdim=True) + 1e-5).half(),
        lambda x: torch.softmax(x.masked_fill(x < 0, torch.finfo(torch.float16).min), -1),
    ],
    ids=["silu", "gelu", "softmax", "normalised", "root mean square in float32", "masked"],
)
def test_what_half_models_are_made_of_passes(function: Function, tmp_path: Path) -> None:
    """Activations, norms that go through float32, masks of the least number."""
    evidence = traced(Layers(function), FEATURES, tmp_path).prove()
    assert evidence.verdict == "pass", evidence.reasons


def test_inputs_that_overflow_half_alone_are_left_out(tmp_path: Path) -> None:
    """PyTorch gives NaN on wide inputs where the file, which computes in float32, does not; a note says so."""
    evidence = traced(Layers(lambda x: x * 8192 / 8192), FEATURES, tmp_path).prove()
    assert evidence.verdict == "pass", evidence.reasons
    assert "left out: wide inputs on which output overflows half precision in PyTorch itself" in evidence.notes
    assert any("output overflows half precision" in skipped for skipped in evidence.skipped)


def test_what_overflows_half_on_ordinary_inputs_is_no_pass(tmp_path: Path) -> None:
    """There it is not left out."""
    assert traced(Layers(lambda x: x * 60000 / 60000), FEATURES, tmp_path).prove().verdict != "pass"


@pytest.mark.parametrize("refused", [Pictures(torch.bfloat16), Layers().bfloat16()], ids=["checker", "runtime"])
def test_a_file_in_bfloat16_fails_with_what_to_do(refused: nn.Module, tmp_path: Path) -> None:
    """Whether onnx.checker refuses it or ONNX Runtime."""
    inputs = "x=bfloat16[batch,16]" if isinstance(refused, Layers) else "x=float32[batch,3,10,10]"
    evidence = traced(refused, (inputs,), tmp_path).prove()
    assert evidence.verdict == "fail"
    assert len(evidence.reasons) == 1
    assert "computes in bfloat16, which ONNX Runtime does not do here" in evidence.reasons[0]
    assert "export the module in float32 (module.float())" in evidence.reasons[0]


@pytest.mark.slow
@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
def test_both_exporters_write_true_files_of_half_modules(exporter: str, tmp_path: Path) -> None:
    """Whichever is asked for."""
    file = exported(Pictures(torch.float16), ("x=float16[batch,3,10,10]",), tmp_path, exporter=exporter)
    evidence = file.prove()
    assert evidence.verdict == "pass", evidence.reasons
