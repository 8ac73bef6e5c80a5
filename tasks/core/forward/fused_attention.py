"""The fused inference kernel of `nn.MultiheadAttention` and `nn.TransformerEncoderLayer`."""

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def without_fused_attention() -> Iterator[None]:
    """Within this context attention runs operator by operator: the kernel has no ONNX operator and no float64 path."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
