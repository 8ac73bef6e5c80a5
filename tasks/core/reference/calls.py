"""Calls of one module on probes: what it returns becomes arrays, what it raises one sentence."""

import contextlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from tasks.core.arrays import Array
from tasks.core.errors import ModelError, refusal_of
from tasks.core.forward.outputs import Thresholds, flatten
from tasks.core.forward.recorder import Recorder
from tasks.core.inputs.inputs import Inputs
from tasks.core.inputs.probes import Probe


class Calls:
    """The calls of one module; the first one tells the names of its outputs, and its thresholds."""

    def __init__(self, network: nn.Module, inputs: Inputs) -> None:
        """Take a module in eval mode, and its inputs; run nothing yet."""
        self._network, self._inputs = network, inputs
        self.names: tuple[str, ...] = ()
        """Of the outputs, from the structure that forward returns; empty before the first call."""
        self.thresholds = Thresholds()

    def run(
        self,
        run: Any,
        probe: Probe,
        *,
        arrays: Mapping[str, Array] | None = None,
        recorder: Recorder | None = None,
        **options: Any,
    ) -> list[Array]:
        """Run the module on a probe, and flatten what it returns; a ModelError says what it raises.

        Args:
            run: how, e.g. `run_float64`.
            probe: what it is given.
            arrays: what it is given instead, by input name.
            recorder: watches the call; None: nobody does.
            options: of `run`.
        """
        args, kwargs = self._inputs.arguments(arrays or self._inputs.arrays(probe))
        try:
            watched = recorder.watching() if recorder else contextlib.nullcontext()
            with contextlib.nullcontext() if self.names else self.thresholds, self._inputs.kept(), watched:
                output = run(self._network, args, kwargs, **options)
        except Exception as error:  # the user's forward may raise anything
            where = f"{probe.sizes_in_words} ({probe.family} inputs, {run.__name__})"
            raise ModelError(
                f"{type(self._network).__name__} raised at {where}: {refusal_of(error, self._network, where=where)}; "
                f"narrow the range or the bounds of its inputs (NAME=DTYPE[WORD:LOW..HIGH]@LOW..HIGH)."
            ) from error
        named = flatten(output)
        self.names = self.names or tuple(name for name, _ in named)
        return [_array(tensor) for _, tensor in named]


def _array(tensor: torch.Tensor) -> Array:
    tensor = tensor.detach().cpu()
    # a copy: the tensor may be a buffer that the next call changes
    return np.array(tensor.float().numpy() if tensor.dtype == torch.bfloat16 else tensor.numpy())
