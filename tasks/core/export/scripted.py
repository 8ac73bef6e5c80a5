"""Modules that are TorchScript or have parts that are: the older exporter takes them once they are traced whole."""

import functools
from typing import Any

import torch
from torch import nn

from tasks.core.forward.arguments import build_arguments
from tasks.core.forward.outputs import flatten
from tasks.core.inputs.inputs import Inputs

PREFIX = "module."
"""Stands before the names of the module's tensors in the traced one."""


def has_script(model: nn.Module) -> bool:
    """Is the module, or a part of it, a ScriptModule?"""
    return any(isinstance(part, torch.jit.ScriptModule) for part in model.modules())


def traced(model: nn.Module, inputs: Inputs) -> tuple[torch.jit.ScriptModule, tuple[torch.Tensor, ...]]:
    """Trace a module around its parts in TorchScript, whose control flow stays; give it with tensors to call it with.

    Args:
        model: as within `flat_forward`; its answers are flattened.
        inputs: of it, one tensor each.
    """
    args, kwargs = inputs.traced_arguments()
    example = (*args, *kwargs.values())
    if isinstance(model, torch.jit.ScriptModule) and not model._c.hasattr("training"):
        return model, example  # by torch.jit.freeze, whose modules can't be traced; they are exported as they are
    return torch.jit.trace(_Flat(model, inputs), example, check_trace=False), example


class _Flat(nn.Module):
    """Takes one tensor an input, and gives a tuple of tensors or a lone one."""

    def __init__(self, model: nn.Module, inputs: Inputs) -> None:
        super().__init__()
        self.module = model
        is_flat = not isinstance(model, torch.jit.ScriptModule) and inputs.from_tensors is not None
        self._arguments = None if is_flat else functools.partial(build_arguments, inputs.argument_paths)

    def forward(self, *tensors: torch.Tensor) -> Any:
        """What the module gives."""
        args, kwargs = (tensors, {}) if self._arguments is None else self._arguments(tensors)
        output = self.module(*args, **kwargs)
        return output if isinstance(output, torch.Tensor) else tuple(tensor for _, tensor in flatten(output))
