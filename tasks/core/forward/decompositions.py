"""Intermediate values of ATen operators that exporters decompose into several nodes."""

import math
from collections.abc import Callable

import torch
from torch.utils._python_dispatch import _disable_current_modes

_Decomposition = Callable[[list[torch.Tensor], torch.Tensor], list[torch.Tensor]]


def intermediates(name: str, tensors: list[torch.Tensor], output: torch.Tensor) -> list[torch.Tensor]:
    """Compute the intermediate values of one call; none for operators that are one node in ONNX.

    Args:
        name: the operator, e.g. `aten.addmm.default`.
        tensors: its tensor arguments, in order.
        output: its first output.
    """
    decomposition = _DECOMPOSITIONS.get(name.removeprefix("aten.").split(".")[0].rstrip("_"))
    if decomposition is None:
        return []
    with _disable_current_modes():
        wide = [t.to(output.dtype) if t.is_floating_point() else t for t in tensors]
        return decomposition(wide, output)


def _without_bias(tensors: list[torch.Tensor], output: torch.Tensor) -> list[torch.Tensor]:
    bias = tensors[0]
    return [output - bias] if bias.ndim == 1 else []


def _convolution(tensors: list[torch.Tensor], output: torch.Tensor) -> list[torch.Tensor]:
    if len(tensors) < 3:
        return []
    return [output - tensors[2].reshape(-1, *([1] * (output.ndim - 2)))]


def _silu(tensors: list[torch.Tensor], _output: torch.Tensor) -> list[torch.Tensor]:
    return [torch.sigmoid(tensors[0])]


def _gelu(tensors: list[torch.Tensor], _output: torch.Tensor) -> list[torch.Tensor]:
    x = tensors[0]
    erf = torch.erf(x / math.sqrt(2))
    return [x / math.sqrt(2), erf, erf + 1, x * (erf + 1), x * 0.5, 0.5 * (erf + 1)]


def _layer_norm(tensors: list[torch.Tensor], output: torch.Tensor) -> list[torch.Tensor]:
    if len(tensors) < 3:
        return []
    return [output - tensors[2]]


def _group_norm(tensors: list[torch.Tensor], output: torch.Tensor) -> list[torch.Tensor]:
    if len(tensors) < 3:
        return []
    along = (-1, *([1] * (output.ndim - 2)))
    scaled = output - tensors[2].reshape(along)
    return [scaled, scaled / tensors[1].reshape(along)]


def _hardswish(tensors: list[torch.Tensor], _output: torch.Tensor) -> list[torch.Tensor]:
    x = tensors[0]
    return [x + 3, torch.clamp(x + 3, 0, 6), torch.nn.functional.hardsigmoid(x)]


def _mish(tensors: list[torch.Tensor], _output: torch.Tensor) -> list[torch.Tensor]:
    softplus = torch.nn.functional.softplus(tensors[0])
    return [softplus, torch.tanh(softplus)]


_DECOMPOSITIONS: dict[str, _Decomposition] = {
    "addmm": _without_bias,
    "convolution": _convolution,
    "silu": _silu,
    "gelu": _gelu,
    "native_layer_norm": _layer_norm,
    "native_group_norm": _group_norm,
    "hardswish": _hardswish,
    "mish": _mish,
}
