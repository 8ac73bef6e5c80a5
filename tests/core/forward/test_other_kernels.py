"""Perturbed runs have the errors of another sound kernel; intermediate values are those of exporters."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from tasks.core.forward.other_kernels import intermediates
from tasks.core.forward.precision import run_float32, run_float64, run_perturbed

X, WEIGHT, BIAS = torch.randn(2, 4, 6), torch.rand(4) + 0.5, torch.randn(4)
LAST: dict[str, tuple[list[torch.Tensor], torch.Tensor, Callable[[torch.Tensor], torch.Tensor]]] = {
    "aten.silu.default": ([X], F.silu(X), lambda sigmoid: X * sigmoid),
    "aten.gelu.default": ([X], F.gelu(X), lambda half: X * half),
    "aten.hardswish_.default": ([X], F.hardswish(X), lambda gate: X * gate),
    "aten.mish.default": ([X], F.mish(X), lambda tanh: X * tanh),
    "aten.native_group_norm.default": (
        [X, WEIGHT, BIAS], F.group_norm(X, 2, WEIGHT, BIAS),
        lambda normal: normal * WEIGHT[:, None] + BIAS[:, None],
    ),
}  # fmt: skip


def test_an_instance_norm_of_a_blank_picture_has_the_error_of_its_mean() -> None:
    """Its mean in lanes is off by a rounding, which the norm of nearly equal values blows up; else it agrees."""
    torch.manual_seed(0)
    norm = nn.InstanceNorm2d(4, affine=True).eval()
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    with torch.no_grad():
        picture = torch.randn(2, 4, 40, 50)
        assert torch.allclose(run_perturbed(norm, (picture,), {}, seed=0), norm(picture), atol=1e-5)
    blank = torch.full((2, 4, 40, 50), 0.7) + 1e-4 * picture
    exact = run_float64(norm, (blank,), {})
    off = [float((run(norm, (blank,), {}) - exact).abs().max()) for run in (run_float32, _perturbed)]
    assert 1.5 * off[0] < off[1] < 0.1


def _perturbed(model: nn.Module, args: tuple[torch.Tensor, ...], kwargs: dict[str, torch.Tensor]) -> torch.Tensor:
    return run_perturbed(model, args, kwargs, seed=1)  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", LAST)
def test_the_last_intermediate_value_gives_the_output(name: str) -> None:
    """One more operator makes the output of it, as in the exported graph."""
    tensors, output, finish = LAST[name]
    assert torch.allclose(finish(intermediates(name, tensors, output)[-1]), output, atol=1e-5)


def test_a_matrix_product_is_the_output_without_its_bias() -> None:
    """A bias of one axis is added by a node of its own; another operand is no bias."""
    a, b, bias = torch.randn(3, 4), torch.randn(4, 5), torch.randn(5)
    (product,) = intermediates("aten.addmm.default", [bias, a, b], torch.addmm(bias, a, b))
    assert torch.allclose(product, a @ b, atol=1e-5)
    assert intermediates("aten.addmm.default", [a @ b, a, b], torch.addmm(a @ b, a, b)) == []


def test_other_operators_have_none() -> None:
    """What is one node in ONNX is not taken apart."""
    assert intermediates("aten.relu.default", [X], F.relu(X)) == []
