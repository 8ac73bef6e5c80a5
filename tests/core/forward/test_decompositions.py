"""Intermediate values are those from which an exporter computes the output."""

from collections.abc import Callable

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from tasks.core.forward.decompositions import intermediates

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
