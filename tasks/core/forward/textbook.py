"""Operators by their textbook formulas: files and ONNX Runtime use these where PyTorch has better ones."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

_LEAST_SIGMOID = 2.0**-26
"""About sigmoid(-18), the least value of ONNX Runtime's kernel in float32."""


def _sigmoid(x: torch.Tensor) -> torch.Tensor:
    y = 1 - 1 / (1 + torch.exp(x))
    return y.clamp_min(_LEAST_SIGMOID) if x.dtype == torch.float32 else y


def _elu(x: torch.Tensor, alpha: float = 1.0, *scales: float) -> torch.Tensor:
    scale, input_scale = (*scales, 1.0, 1.0)[:2]
    return torch.where(x > 0, x * scale, ((x * input_scale).exp() - 1) * (alpha * scale))


def _glu(x: torch.Tensor, dim: int = -1) -> torch.Tensor:
    value, gate = x.chunk(2, dim)
    return value * _sigmoid(gate)


_FORMULAS: dict[str, Callable[..., Any]] = {
    "aten::sigmoid": _sigmoid,
    "aten::silu": lambda x: x * _sigmoid(x),
    "aten::glu": _glu,
    "aten::elu": _elu,
    "aten::celu": lambda x, alpha=1.0: _elu(x, alpha, 1.0, 1 / alpha),
    "aten::expm1": lambda x: x.exp() - 1,
    "aten::log1p": lambda x: (x + 1).log(),
    "aten::hardswish": lambda x: x * (x / 6 + 0.5).clamp(0, 1),
    "aten::log_sigmoid_forward": lambda x: (x.clamp_max(0) - (1 + x.abs().neg().exp()).log(), x.new_empty(0)),
}


def by_textbook(func: Any, args: Sequence[Any]) -> Any:
    """What an operator gives by its formula, off by a rounding of 1 rather than of the value; None: it has none here.

    ONNX Runtime's ELU is off by 1e-8 at values of 1e-4, PyTorch's by 1e-12. Half precision is computed in float32.

    Args:
        func: an overload of an operator.
        args: its arguments; an in-place operator changes the first of them.
    """
    name = func._schema.name if isinstance(func, torch._ops.OpOverload) else ""
    if name.removesuffix("_") not in _FORMULAS or args[0].dtype.itemsize < 4:
        return None
    if formula := _FORMULAS.get(name):
        return formula(*args)
    return args[0].copy_(_FORMULAS[name.removesuffix("_")](*args))
