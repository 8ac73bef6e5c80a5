"""Textbook formulas give what the operators give, with the rounding of 1."""

from collections.abc import Callable

import pytest
import torch
from torch.nn import functional

from tasks.core.forward.other_kernels import OtherKernels

OPERATORS = (
    functional.elu,
    functional.glu,
    functional.elu_,
    functional.selu,
    functional.celu,
    torch.expm1,
    torch.log1p,
    torch.log1p_,
    functional.hardswish,
    functional.logsigmoid,
)


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda operator: operator.__name__)
def test_a_formula_is_its_operator_but_for_a_rounding_of_one(operator: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Values of 1e-4 are off by 1e-8."""
    torch.manual_seed(0)
    x = (torch.rand(1000) * 2 - 0.9).pow(5)
    exact = operator(x.double())
    with OtherKernels(0):
        other = operator(x.clone())
    assert 1e-9 < (other - exact).abs().max() < 1e-6
    assert (operator(x.clone()) - exact).abs().max() < 1e-6
