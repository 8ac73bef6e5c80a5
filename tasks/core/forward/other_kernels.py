"""Operators computed otherwise than PyTorch would: by other kernels, or in the steps that exporters take."""

import math
from typing import Any
from unittest.mock import patch

import torch
from torch.utils._python_dispatch import _disable_current_modes

from tasks.core.forward.operator_mode import OperatorMode
from tasks.core.forward.orders_of_addition import Orders, in_order, is_long, lowering_of
from tasks.core.forward.textbook import by_textbook


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
    """Compute by textbook formulas, and add up in other orders, with the errors that another correct kernel may have.

    ONNX Runtime's sigmoid has an error that is eps32 of 1 rather than of the value: on deepCR's real weights it is off
    by 4e-9 (rms) at outputs of 2e-6, PyTorch's by 2e-12. It adds up in a few lanes or one term after another, PyTorch
    in pairs: over the 22,500 pixels of an EfficientNet-B3's first block their means are off by 1.3e-6 and 1e-7, where
    these are all equal by 4e-5 and 2e-7. A norm of nearly equal values blows the error of its mean up to 300 times:
    RAFT's flow of two blank pictures is off by 6e-5 in ONNX Runtime, by 8e-6 in PyTorch, by 1e-4 with means added in
    four lanes. Noise that knew only PyTorch's kernels would fail true files.
    """

    def __init__(self, seed: int) -> None:
        """Choose orders of addition by a seed."""
        super().__init__()
        self._orders = Orders.of(seed)
        self._order = self._orders.sums

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: PLR0917
        if not kwargs and (other := by_textbook(func, args)) is not None:
            return other
        if not kwargs and (other := in_order(func, args, self._order)) is not None:
            return other
        answer = self.call(func, args, kwargs)
        lowering = lowering_of(func)
        if lowering is None or not is_long(args[0], answer):
            return answer
        with patch.object(self, "_order", self._orders.norms if lowering.is_norm else self._order), self:
            return lowering.decomposition(*args, **(kwargs or {}))
