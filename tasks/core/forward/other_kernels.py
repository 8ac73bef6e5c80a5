"""Operators computed otherwise than PyTorch would: by other kernels, or in the steps that exporters take."""

import math
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import _disable_current_modes

from tasks.core.forward.operator_mode import OperatorMode
from tasks.core.forward.textbook import by_textbook

_LONG_SUM = 256
"""Number of terms from which the order of a sum has a visible effect."""
_LANES = (4, 1)
"""Numbers of partial sums in ONNX Runtime's averages: in the layout NCHW, and in one with blocks of channels."""
_LEAST_SIGMOID = 2.0**-26
"""About sigmoid(-18), the least value of ONNX Runtime's kernel."""


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


class OtherKernels(OperatorMode):
    """Compute sigmoids, instance norms and long averages with the errors that another correct float32 kernel may have.

    ONNX Runtime's sigmoid has an error that is eps32 of 1 rather than of the value, and never gives less than
    sigmoid(-18) = 1.5e-8: on deepCR's real weights it is off by 4e-9 (rms) at outputs of 2e-6, PyTorch's by
    2e-12. Its global average adds up in a few lanes, PyTorch's in pairs: over the 22,500 pixels of an
    EfficientNet-B3's first block they are off by 1.3e-6 and 1e-7, where these are all equal by 4e-5 and 2e-7.
    An instance norm of nearly equal values blows the error of its mean up to 300 times: RAFT's flow of two blank
    pictures is off by 6e-5 in ONNX Runtime, by 8e-6 in PyTorch, by 1e-4 and 5e-4 with means added in lanes.
    Noise that knew only PyTorch's kernels would fail true files.
    """

    def __init__(self, seed: int) -> None:
        """Choose by a seed the layout whose order of addition is used in averages."""
        super().__init__()
        self._num_lanes = _LANES[seed % len(_LANES)]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: PLR0917
        aten = torch.ops.aten
        if func is aten.sigmoid.default:
            return _other_sigmoid(args[0])
        if func is aten.sigmoid_.default:
            return args[0].copy_(_other_sigmoid(args[0]))
        if func is aten.silu.default:
            return args[0] * _other_sigmoid(args[0])
        if func is aten.silu_.default:
            return args[0].mul_(_other_sigmoid(args[0]))
        if not kwargs and (other := by_textbook(func, args)) is not None:
            return other
        if func is aten.native_batch_norm.default and args[5] and args[0].shape[0] == 1:
            return _instance_norm_in_lanes(*args[:3], eps=args[7], num_lanes=self._num_lanes)
        answer = self.call(func, args, kwargs)
        if func is aten.mean.dim and _is_long_average(args[0], args[1], answer):
            return _average_in_lanes(args[0], answer.shape, num_lanes=self._num_lanes)
        return answer


def _other_sigmoid(x: torch.Tensor) -> torch.Tensor:
    return (1 - 1 / (1 + torch.exp(x))).clamp_min(_LEAST_SIGMOID)


def _is_long_average(x: torch.Tensor, dims: list[int] | None, answer: torch.Tensor) -> bool:
    reduced = sorted(dim % x.dim() for dim in dims or range(x.dim()))
    trailing = reduced == list(range(x.dim() - len(reduced), x.dim()))
    return trailing and x.dtype == torch.float32 and x.numel() >= _LONG_SUM * max(answer.numel(), 1)


def _instance_norm_in_lanes(
    x: torch.Tensor, weight: torch.Tensor | None, bias: torch.Tensor | None, *, eps: float, num_lanes: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Instance norm, which PyTorch runs as batch norm in training over one row; also mean and inverse deviation."""
    shape = torch.Size((1, x.shape[1], *[1] * (x.dim() - 2)))
    mean = _average_in_lanes(x, shape, num_lanes=num_lanes)
    inverse = (_average_in_lanes((x - mean).square(), shape, num_lanes=num_lanes) + eps).rsqrt()
    y = (x - mean) * inverse
    y = y if weight is None else y * weight.reshape(shape)
    return y if bias is None else y + bias.reshape(shape), mean.flatten(), inverse.flatten()


def _average_in_lanes(x: torch.Tensor, shape: torch.Size, *, num_lanes: int) -> torch.Tensor:
    """Mean over the trailing dims in lanes, each added up one after another, as vector units do."""
    rows = x.detach().reshape(shape.numel(), -1).numpy()
    num_terms = rows.shape[1]
    whole = num_terms // num_lanes * num_lanes
    lanes = rows[:, :whole].reshape(len(rows), -1, num_lanes).transpose(1, 0, 2)
    # over the first of two axes numpy adds in order, over a lone one in pairs
    steps = np.repeat(lanes.reshape(lanes.shape[0], -1), 2, axis=1)
    total = np.add.reduce(steps, axis=0)[::2].reshape(len(rows), num_lanes).sum(axis=1) + rows[:, whole:].sum(axis=1)
    return torch.from_numpy(np.asarray(total / np.float32(num_terms))).reshape(shape)
