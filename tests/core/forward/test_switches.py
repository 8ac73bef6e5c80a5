"""Each run takes the same way, and PyTorch's switches are afterwards as they were."""

import contextlib

import pytest
import torch
from torch import nn

from tasks.core.forward.precision import run_float32
from tasks.core.forward.switches import operator_by_operator, same_way


@pytest.mark.parametrize("was_enabled", [True, False])
def test_the_switches_are_as_before_afterwards(was_enabled: bool) -> None:
    """Also after an error, and where somebody had set them already."""
    mha, matmul = torch.backends.mha, torch.backends.mkldnn.matmul
    before = mha.get_fastpath_enabled(), matmul.fp32_precision
    mha.set_fastpath_enabled(was_enabled)
    matmul.fp32_precision = "bf16"
    try:
        for context in (same_way, operator_by_operator):
            with contextlib.suppress(ValueError), context():
                assert not mha.get_fastpath_enabled()
                assert matmul.fp32_precision == "ieee"
                raise ValueError
            assert mha.get_fastpath_enabled() is was_enabled
            assert matmul.fp32_precision == "bf16"
    finally:
        mha.set_fastpath_enabled(before[0])
        matmul.fp32_precision = before[1]


def test_nothing_is_compiled() -> None:
    """A compiled function would have kernels that no other run has."""
    calls = []

    class Compiled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = torch.compile(torch.sin, backend=lambda graph, _: calls.append(graph) or graph)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x)  # type: ignore[no-any-return]

    assert torch.equal(run_float32(Compiled(), (torch.ones(3),), {}), torch.ones(3).sin())
    assert calls == []
