"""Intermediate values of ATen operators that exporters decompose into several nodes."""

import math

import torch
from torch.utils._python_dispatch import _disable_current_modes


def intermediates(name: str, tensors: list[torch.Tensor], output: torch.Tensor) -> list[torch.Tensor]:
    """Compute the intermediate values of one call; none for operators that are one node in ONNX.

    Args:
        name: the operator, e.g. `aten.addmm.default`.
        tensors: its tensor arguments, in order.
        output: its first output.
    """
    along_channels = (-1, *[1] * (output.ndim - 2))
    with _disable_current_modes():
        match name.removeprefix("aten.").split(".")[0].rstrip("_"), tensors:
            case "addmm", [bias, *_] if bias.ndim == 1:
                return [output - bias]
            case "convolution", [_, _, bias]:
                return [output - bias.reshape(along_channels)]
            case "native_layer_norm", [_, _, bias]:
                return [output - bias]
            case "native_group_norm", [_, weight, bias]:
                scaled = output - bias.reshape(along_channels)
                return [scaled, scaled / weight.reshape(along_channels)]
            case "silu", [x]:
                return [torch.sigmoid(x.to(output.dtype))]
            case "gelu", [x]:
                x = x.to(output.dtype)
                erf = torch.erf(x / math.sqrt(2))
                return [x / math.sqrt(2), erf, erf + 1, x * (erf + 1), x * 0.5, 0.5 * (erf + 1)]
            case "hardswish", [x]:
                x = x.to(output.dtype)
                return [x + 3, torch.clamp(x + 3, 0, 6), torch.nn.functional.hardsigmoid(x)]
            case "mish", [x]:
                softplus = torch.nn.functional.softplus(x.to(output.dtype))
                return [softplus, torch.tanh(softplus)]
    return []
