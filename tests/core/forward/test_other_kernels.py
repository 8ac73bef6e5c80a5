"""Perturbed runs compute what PyTorch computes, with the errors that another sound kernel may have."""

import contextlib

import pytest
import torch
from torch import nn

from tasks.core.forward.other_kernels import without_fused_attention
from tasks.core.forward.precision import run_float32, run_float64, run_perturbed


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


@pytest.mark.parametrize("was_enabled", [True, False])
def test_the_switch_is_as_before_afterwards(was_enabled: bool) -> None:
    """Also after an error, and where somebody had switched the kernel off already."""
    mha = torch.backends.mha
    before = mha.get_fastpath_enabled()
    mha.set_fastpath_enabled(was_enabled)
    try:
        with contextlib.suppress(ValueError), without_fused_attention():
            assert not mha.get_fastpath_enabled()
            raise ValueError
        assert mha.get_fastpath_enabled() is was_enabled
    finally:
        mha.set_fastpath_enabled(before)
