"""A module in float64 whose file computes in less is wrong; a file in float64 is true."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.core.proof.proving import led_through, prove
from tests.field.traced import traced

FEATURES = ("x=float64[batch,6]",)


class Double(nn.Module):
    """A network in float64."""

    def __init__(self, *, hidden: int = 8, middle: nn.Module | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(6, hidden, dtype=torch.float64)
        self.last = nn.Linear(hidden, 3, dtype=torch.float64)
        self.middle = nn.ReLU() if middle is None else middle.double()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Two layers, and something in between."""
        return self.last(self.middle(self.first(x)))  # type: ignore[no-any-return]


class Scaled(Double):
    """Has a constant that float32 can't hold."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Three tenths."""
        return super().forward(x) * 0.3


class Single(nn.Module):
    """Computes in float32 what it is given in float64."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module.float()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """There and back."""
        return self.module(x.float()).double()  # type: ignore[no-any-return]


class SingleInside(Double):
    """Its last layer alone runs in float32."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """There and back."""
        y = self.middle(self.first(x)).float()
        return nn.functional.linear(y, self.last.weight.float(), self.last.bias.float()).double()


class SingleWeights(Double):
    """Computes in float64 with weights that were stored in float32."""

    def __init__(self) -> None:
        super().__init__()
        self.float().double()


@pytest.mark.parametrize("wrong", [Single(Double()), SingleInside(), SingleWeights()], ids=lambda m: type(m).__name__)
def test_a_file_that_computes_in_float32_fails(wrong: nn.Module, tmp_path: Path) -> None:
    """All of it, one layer of it, or nothing but the weights that it read: off by millions of roundings of float64."""
    evidence = traced(Double(), FEATURES, tmp_path, file_of=wrong).prove()
    assert evidence.verdict == "fail"
    assert "times the noise of float64" in evidence.reasons[0]


def test_an_error_of_one_float32_rounding_in_a_float64_file_fails(tmp_path: Path) -> None:
    """A true file passes; the same with an output that went through float32, or with an attribute's 0.3, does not."""
    file = traced(Scaled(), FEATURES, tmp_path)
    assert file.prove().verdict == "pass"
    factor = np.array(np.float64(np.float32(0.3)) / 0.3)
    assert file.prove(mutate=led_through("output", "Mul", factor)).verdict == "fail"


@pytest.mark.parametrize(
    "middle", [nn.ReLU(), nn.LayerNorm(300), nn.BatchNorm1d(300)], ids=lambda module: type(module).__name__
)
def test_a_true_file_in_float64_passes(middle: nn.Module, tmp_path: Path) -> None:
    """Long sums have float64's own noise, and a norm's epsilon is float32 in any file: an attribute."""
    evidence = traced(Double(hidden=300, middle=middle), FEATURES, tmp_path).prove()
    assert evidence.verdict == "pass", evidence.reasons


def test_a_float32_module_that_returns_float64_has_the_noise_of_float32(tmp_path: Path) -> None:
    """What is measured counts, not what the dtype promises."""
    torch.manual_seed(0)
    assert traced(Single(Double()), FEATURES, tmp_path).prove().verdict == "pass"


@pytest.mark.slow
def test_an_export_takes_the_exporter_that_keeps_float64(tmp_path: Path) -> None:
    """The newer one writes the factor 0.3 in float32, 4e-8 off; `auto` goes on to the other."""
    evidence = prove(Scaled(), FEATURES, tmp_path)
    assert evidence.verdict == "pass", evidence.reasons
