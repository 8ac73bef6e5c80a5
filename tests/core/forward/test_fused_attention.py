"""The switch of the fused attention kernel."""

import contextlib

import pytest
import torch

from tasks.core.forward.fused_attention import without_fused_attention


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
