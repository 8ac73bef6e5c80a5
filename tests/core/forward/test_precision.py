"""A module runs in float64 and perturbed without being changed by it."""

import pytest
import torch
from torch import nn

from tasks.core.arrays import EPS32
from tasks.core.errors import is_out_of_memory
from tasks.core.forward.precision import run_float32, run_float64, run_perturbed


@torch.library.custom_op("assay_tests::float32_only", mutates_args=())
def float32_only(x: torch.Tensor) -> torch.Tensor:
    """Doubles float32, and refuses what is not."""
    if x.dtype != torch.float32:
        raise TypeError("float32 only")
    return x * 2


@torch.library.custom_op("assay_tests::too_large", mutates_args=())
def too_large(x: torch.Tensor) -> torch.Tensor:
    """Has memory for float32 only."""
    if x.dtype == torch.float64:
        raise MemoryError("no room for float64")
    return x * 1


class Calls(nn.Module):
    """A layer, a cast, and an operator."""

    def __init__(self, operator: object = torch.relu) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(8, 8)
        self.operator = operator

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Cast to float32 in the middle, as real modules do."""
        return self.operator(self.layer(x).float()) + torch.ones(8, dtype=torch.float32)  # type: ignore[operator,no-any-return]


def test_float64_goes_through_casts_and_leaves_the_module_as_it_was() -> None:
    """The answer is that of float64 arithmetic, although forward casts; weights and default dtype are unchanged."""
    model, x = Calls().eval(), torch.randn(4, 8)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    answer = run_float64(model, (x,), {})
    weight, bias = (tensor.detach().double() for tensor in (model.layer.weight, model.layer.bias))
    assert torch.equal(answer, torch.relu(nn.functional.linear(x.double(), weight, bias)) + 1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert torch.get_default_dtype() == torch.float32


def test_an_operator_without_float64_is_named() -> None:
    """It runs in float32, and whoever asked gets to know."""
    rounded: set[str] = set()
    answer = run_float64(Calls(float32_only).eval(), (torch.randn(4, 8),), {}, rounded=rounded)
    assert answer.dtype == torch.float64
    assert rounded == {"assay_tests.float32_only.default"}


def test_lack_of_memory_is_not_lack_of_float64() -> None:
    """Where memory runs out the run fails, and no weaker precision stands in for it."""
    rounded: set[str] = set()
    with pytest.raises(MemoryError):
        run_float64(Calls(too_large).eval(), (torch.randn(4, 8),), {}, rounded=rounded)
    assert not rounded


def test_pytorch_words_for_lack_of_memory_are_known() -> None:
    """A tensor that no machine can hold raises what is_out_of_memory recognises; another error is none."""
    with pytest.raises(RuntimeError) as refused:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(refused.value)
    assert not is_out_of_memory(ValueError("shape"))


def test_perturbed_weights_are_off_by_one_rounding() -> None:
    """The answer moves, by no more than roundings do; the same seed moves it the same way, another one otherwise."""
    model, x = Calls().eval(), torch.randn(64, 8)
    plain = run_float32(model, (x,), {})
    first, again, other = (run_perturbed(model, (x,), {}, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert 0 < float((first - plain).abs().max()) < 20 * EPS32 * float(plain.abs().max())


def test_a_float64_module_is_perturbed_by_one_rounding_of_float64() -> None:
    """Its weights move by 1e-16 of themselves; a norm's epsilon is rounded to float32, as in a file."""
    torch.manual_seed(0)
    layer, norm, x = nn.Linear(8, 8).double(), nn.LayerNorm(8).double(), torch.randn(4, 8, dtype=torch.float64)
    moved = (run_perturbed(layer, (x,), {}, seed=0) - run_float32(layer, (x,), {})).abs().max()
    assert 0 < moved < 1e-14
    assert 1e-15 < (run_perturbed(norm, (x,), {}, seed=0) - run_float32(norm, (x,), {})).abs().max() < 1e-11


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_raised_and_perturbed_by_its_own_rounding(dtype: torch.dtype) -> None:
    """The float64 run computes nothing in it, casts and constants included; weights move by one rounding of it."""
    torch.manual_seed(0)
    layer, x = nn.Linear(8, 8).to(dtype), torch.randn(16, 8).to(dtype)

    class Casts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x).to(dtype) + torch.full((8,), 0.1, dtype=dtype)

    exact = nn.functional.linear(x.double(), layer.weight.double(), layer.bias.double()) + 0.1
    answer = run_float64(Casts(), (x,), {})
    assert answer.dtype == torch.float64
    assert torch.allclose(answer, exact, rtol=1e-12, atol=1e-12)
    moved = run_perturbed(layer, (x,), {}, seed=0)
    assert moved.dtype == layer.weight.dtype == dtype
    assert 0 < float((moved - layer(x)).detach().abs().max()) < 20 * torch.finfo(dtype).eps
