"""PyTorch's own switches that decide which way a module takes: the same in every run that is compared with another."""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

_mkldnn: Any = torch.backends.mkldnn
_PRODUCTS = (_mkldnn.matmul, _mkldnn.conv, _mkldnn.rnn)
"""What may be told to round float32 to bfloat16 within."""


@contextlib.contextmanager
def same_way() -> Iterator[None]:
    """Within this context a module takes the same way in every precision, and the way that exporters see.

    Attention runs operator by operator: PyTorch's fused path has no ONNX operator and no float64, and drops padded
    positions. Products of matrices are not rounded to less than float32.
    """
    fused, precisions = torch.backends.mha.get_fastpath_enabled(), [part.fp32_precision for part in _PRODUCTS]
    with contextlib.ExitStack() as stack:
        stack.callback(torch.backends.mha.set_fastpath_enabled, fused)
        torch.backends.mha.set_fastpath_enabled(False)
        for part, precision in zip(_PRODUCTS, precisions, strict=True):
            stack.callback(setattr, part, "fp32_precision", precision)
            part.fp32_precision = "ieee"
        yield


@contextlib.contextmanager
def uncompiled() -> Iterator[None]:
    """Within this context torch.compile does nothing; exporters need it for the functions inside torch.cond."""
    # importing it takes a second, and where nobody did nothing can be compiled
    is_needed = "torch._dynamo" in sys.modules
    with torch.compiler.set_stance("force_eager") if is_needed else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def operator_by_operator() -> Iterator[None]:
    """As `same_way`, and no kernel does the work of several operators, so that a recorder sees each of them."""
    with same_way(), sdpa_kernel(SDPBackend.MATH), contextlib.ExitStack() as stack:
        stack.callback(torch._C._set_mkldnn_enabled, torch._C._get_mkldnn_enabled())
        torch._C._set_mkldnn_enabled(False)  # it runs a whole LSTM as one operator, in float32 only
        yield
