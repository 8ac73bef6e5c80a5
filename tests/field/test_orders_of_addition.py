"""A true file whose runtime adds up in another order than PyTorch passes; a wrong one of the same module fails."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.core.proof.proving import Mutation, exported, led_through
from tests.field.traced import traced

MAP = ("x=float32[batch,3,height=64,width=64]@0..1",)
FIXED_MAP = ("x=float32[batch,3,64,64]",)
SEQUENCE = ("x=float32[batch,length=1000,3]",)
Function = Callable[[torch.Tensor], torch.Tensor]


class OverMap(nn.Module):
    """A convolution, what follows it, and a linear layer on the channels if asked for."""

    def __init__(self, function: Function, *, has_head: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 4) if has_head else nn.Identity()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Channels of a map to numbers."""
        return self.head(self.function(self.layer(x)))  # type: ignore[no-any-return]


class OverTime(nn.Module):
    """A linear layer on each step, and what follows it."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.function = nn.Linear(3, 8), function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Gates, and their function."""
        return self.function(torch.sigmoid(self.layer(x)))


class Decoder(nn.Module):
    """A block of a diffusion decoder."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.enter, self.norm = nn.Conv2d(3, 16, 3, padding=1), nn.GroupNorm(4, 16)
        self.layer, self.leave = nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Norm, silu, convolution, beside the identity."""
        x = self.enter(x)
        return self.leave(x + self.layer(functional.silu(self.norm(x))))  # type: ignore[no-any-return]


class Attention(nn.Module):
    """Each step looks at all."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(6, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Every four hundredth step of attention to gates."""
        x = self.layer(x)
        return functional.scaled_dot_product_attention(x, x, torch.sigmoid(x))[:, ::400]


def _scaled(factor: float) -> Mutation:
    return led_through("output", "Mul", np.array([factor], dtype=np.float32))


EVERYDAY: dict[str, tuple[nn.Module, tuple[str, ...]]] = {
    "sums of a map": (OverMap(lambda y: torch.relu(y).sum((2, 3)) / 100), ("x=float32[batch,3,64,64]@0..1",)),
    "cumulative sums": (OverTime(lambda y: y.cumsum(1)), SEQUENCE),
}
"""The least member of each kind."""
OTHERS: dict[str, tuple[nn.Module, tuple[str, ...]]] = {
    "sums of maps of any size": (OverMap(lambda y: torch.relu(y).sum((2, 3)) / 100), MAP),
    "group norm": (Decoder(), FIXED_MAP),
    "layer norm of maps": (OverMap(lambda y: functional.layer_norm(y, (64, 64)), has_head=False), FIXED_MAP),
    "mean over time": (OverTime(lambda y: y.mean(1)), ("x=float32[batch,length=5000,3]",)),
    "sum over time": (OverTime(lambda y: y.sum(1)), SEQUENCE),
    "standard deviation": (OverMap(lambda y: y.std((2, 3))), MAP),
    "norm of a map": (OverMap(lambda y: y.flatten(2).norm(dim=2)), MAP),
    "normalised map": (OverMap(lambda y: functional.normalize(torch.relu(y).flatten(1)), has_head=False), FIXED_MAP),
    "sum of exponentials": (OverMap(lambda y: torch.logsumexp(y.flatten(2), 2)), MAP),
    "entropy": (OverTime(lambda y: -(y * y.clamp_min(1e-9).log()).sum(1) / y.shape[1]), SEQUENCE),
    "mean of 200": (OverTime(lambda y: y.mean(1)), ("x=float32[batch,length=200,3]",)),
    "instance norm of a small map": (OverMap(functional.instance_norm, has_head=False), ("x=float32[batch,3,15,15]",)),
}
"""Further ones; the last two were found by looking for what the mended code still called wrong."""


@pytest.mark.parametrize("name", EVERYDAY)
def test_a_true_file_that_adds_up_otherwise_passes(name: str, tmp_path: Path) -> None:
    """ONNX Runtime adds up in lanes or one term after another; blank inputs make that 1e-5 of the scale."""
    evidence = traced(*EVERYDAY[name], tmp_path).prove()
    assert evidence.verdict == "pass", evidence.reasons


@pytest.mark.slow
@pytest.mark.parametrize("name", [*EVERYDAY, *OTHERS])
def test_any_reduction_may_be_added_up_otherwise(name: str, tmp_path: Path) -> None:
    """Norms, variances, means and what is made of them, over inner and outer axes; a wrong factor fails still."""
    file = traced(*{**EVERYDAY, **OTHERS}[name], tmp_path)
    evidence = file.prove()
    assert evidence.verdict == "pass", evidence.reasons
    assert file.prove(mutate=_scaled(1.0003)).verdict == "fail"


@pytest.mark.slow
def test_attention_may_divide_before_it_adds_up(tmp_path: Path) -> None:
    """On blank inputs PyTorch's fused kernel was luckily right in one slice, whatever the last bit of the weights."""
    evidence = traced(Attention(), ("x=float32[1,4001,6]",), tmp_path).prove()
    assert evidence.verdict == "pass", evidence.reasons


@pytest.mark.slow
@pytest.mark.parametrize("opset", [20, 21])
def test_a_group_norm_passes_as_either_operator(opset: int, tmp_path: Path) -> None:
    """Up to opset 20 it is written as an instance norm; from 21 on as ONNX defines it, with a variance in one pass."""
    file = exported(Decoder(), FIXED_MAP, tmp_path, opset=opset, exporter="dynamo")
    evidence = file.prove()
    assert evidence.verdict == "pass", evidence.reasons
    assert file.prove(mutate=_scaled(1.0003)).verdict == "fail"


class Recurrent(nn.Module):
    """An LSTM, and all of its steps."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.LSTM(8, 16, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """What saturated gates let through is 1e-8 in a file, 1e-30 in PyTorch's fused kernel."""
        return self.layer(x)[0]  # type: ignore[no-any-return]


def test_saturated_gates_of_an_lstm_pass(tmp_path: Path) -> None:
    """Whatever its kernels make of the smallest numbers."""
    evidence = traced(Recurrent(), ("x=float32[batch,4,8]@-100..100",), tmp_path).prove()
    assert evidence.verdict == "pass", evidence.reasons
