"""Whatever adds up is computed in another order, and nothing else changes."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional

from tasks.core.forward.orders_of_addition import Order, in_order, lowering_of
from tasks.core.forward.other_kernels import OtherKernels
from tasks.core.forward.precision import run_float32, run_float64

ATEN = torch.ops.aten
MAP = (32, 32)
Function = Callable[[torch.Tensor], torch.Tensor]
ADD_UP: dict[str, Function] = {
    "sum": lambda x: x.sum((2, 3)),
    "sum of outer axes": lambda x: x.flatten(2).transpose(1, 2).contiguous().sum(1),
    "mean of all": lambda x: x.mean(),
    "mean": lambda x: x.mean((0, -1, -2), keepdim=True),
    "variance": lambda x: x.var((2, 3)),
    "standard deviation": lambda x: x.std(),
    "norm": lambda x: x.flatten(2).norm(dim=2),
    "sum of exponentials": lambda x: torch.logsumexp(x, (1, 2, 3)),
    "nansum": lambda x: x.nansum((2, 3)),
    "trapezoid": lambda x: torch.trapezoid(x.flatten(1)),
    "group norm": lambda x: functional.group_norm(x, 2),
    "layer norm": lambda x: functional.layer_norm(x, MAP),
    "instance norm": functional.instance_norm,
    "root mean square norm": lambda x: functional.rms_norm(x, MAP),
    "loss": lambda x: functional.l1_loss(x, x.square()),
    "cosine": lambda x: functional.cosine_similarity(x.flatten(1), x.flatten(1).flip(1)),
    "cumulative sum": lambda x: x.cumsum(2),
    "in place": lambda x: x.clone().cumsum_(-1),
    "cumulative product": lambda x: torch.cumprod(x + 0.3, -1),
}


class Calls(nn.Module):
    """Computes a function."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Call it."""
        return self.function(x)


def _positive() -> torch.Tensor:
    torch.manual_seed(0)
    return 0.1 * torch.randn(2, 8, *MAP) + 0.7


@pytest.mark.parametrize("name", ADD_UP)
def test_what_adds_up_does_so_in_other_orders(name: str) -> None:
    """Some seed gives another answer than PyTorch's kernel; all are right to 1e-4, of the same shape and strides."""
    module, x = Calls(ADD_UP[name]), _positive()
    plain, exact = run_float32(module, (x,), {}), run_float64(module, (x,), {})
    others = []
    for seed in range(4):
        with OtherKernels(seed):
            others.append(run_float32(module, (x,), {}))
    assert any(not torch.equal(other, plain) for other in others)
    for other in others:
        assert (other.dtype, other.shape, other.stride()) == (plain.dtype, plain.shape, plain.stride())
        assert torch.allclose(other.double(), exact, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.half().sum((2, 3)),
        lambda x: (x > 0.7).sum(),
        lambda x: x.amax((2, 3)),
        lambda x: x[..., :5].mean(-1),
        lambda x: x[:0].sum((1, 2, 3)),
        lambda x: x.cumsum(-1, dtype=torch.float64),
        lambda x: functional.batch_norm(x, torch.zeros(8), torch.ones(8)),
        lambda x: functional.layer_norm(x[..., :8], (8,)),
    ],
    ids=["half", "integers", "maximum", "few terms", "no terms", "float64", "batch norm", "norm of few terms"],
)
def test_what_adds_up_nothing_is_computed_as_ever(function: Function) -> None:
    """Integers, extremes and few terms have no order; a norm with known statistics has no sum; half rounds more."""
    x = _positive()
    plain = function(x)
    for seed in range(4):
        with OtherKernels(seed):
            assert torch.equal(function(x), plain)


def test_a_scalar_adds_up_to_itself() -> None:
    """A scan over no axis is its only element."""
    one = torch.tensor(2.0)
    with OtherKernels(0):
        assert one.cumsum(0) == one


def test_lanes_are_added_up_one_term_after_another() -> None:
    """After 2**24 a float32 takes no further 1 in one lane; two lanes take twice as many."""
    terms = torch.cat([torch.tensor([2.0**24]), torch.ones(511)]).reshape(1, -1)
    one, two = (in_order(torch.ops.prims.sum.default, (terms, [1]), Order(lanes)) for lanes in (1, 2))
    assert one == 2.0**24
    assert two == 2.0**24 + 256


def test_a_variance_in_one_pass_loses_what_is_small_beside_the_mean() -> None:
    """The mean of squares less the square of the mean, never below zero; in two passes nothing is lost."""
    x = 10 + 1e-2 * _positive().flatten(1)
    args = (x, [1], 1.0)
    one, two = (in_order(torch.ops.prims.var.default, args, Order(8, is_one_pass=is_one)) for is_one in (True, False))
    assert one is not None
    assert two is not None
    exact = x.double().var(1)
    assert (one >= 0).all()
    assert not torch.allclose(one.double(), exact, rtol=0.5, atol=0)
    assert torch.allclose(two.double(), exact, rtol=0.01, atol=0)


def test_the_schema_tells_what_adds_up() -> None:
    """Reductions, norms and losses of any name are known, and no layer, view or sum in place."""
    known = {func: lowering_of(func) for func in (ATEN.nansum.default, ATEN.huber_loss.default)}
    assert all(known.values())
    norms = (ATEN.native_group_norm.default, ATEN.native_layer_norm.default, ATEN.native_batch_norm.default)
    assert all(lowering is not None and lowering.is_norm for lowering in map(lowering_of, norms))
    others = (ATEN.convolution.default, ATEN.mm.default, ATEN.view.default, ATEN.add_.Tensor, ATEN.sum.IntList_out)
    assert not any(map(lowering_of, others))
