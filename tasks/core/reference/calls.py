"""Call a module on a probe: its outputs as named arrays, or one sentence of what it raised."""

from typing import Any

import numpy as np
import torch
from torch import nn

from tasks.core.arrays import Array
from tasks.core.errors import ModelError
from tasks.core.forward.outputs import flatten
from tasks.core.forward.refusals import refusal_of
from tasks.core.inputs.choice import Inputs
from tasks.core.inputs.probes import Probe


def call(network: nn.Module, inputs: Inputs, probe: Probe, *, run: Any, **options: Any) -> list[tuple[str, Array]]:
    """Run a module on a probe and flatten what it returns.

    Args:
        network: the module.
        inputs: how forward takes them.
        probe: the values.
        run: how to run it, e.g. `run_float64`.
        options: of that.

    Raises:
        ModelError: the module raised, or returned what ONNX can't hold.
        OutOfMemoryError: memory ran out.
    """
    args, kwargs = inputs.arguments(inputs.arrays(probe))
    try:
        output = run(network, args, kwargs, **options)
    except Exception as error:  # the user's forward may raise anything; it becomes one sentence
        where = f"{probe.sizes_in_words} ({probe.family} inputs, {run.__name__})"
        raise ModelError(
            f"{type(network).__name__} raised at {where}: {refusal_of(error, network, where=where)}; "
            f"narrow the range or the bounds of its inputs (NAME=DTYPE[WORD:LOW..HIGH]@LOW..HIGH)."
        ) from error
    return [(name, _array(tensor)) for name, tensor in flatten(output)]


def _array(tensor: torch.Tensor) -> Array:
    tensor = tensor.detach().cpu()
    # a copy: the tensor may be a buffer that the next call changes
    return np.array(tensor.float().numpy() if tensor.dtype == torch.bfloat16 else tensor.numpy())
