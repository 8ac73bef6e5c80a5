"""What the module itself answers to a probe: in float32, in float64, and with perturbed weights."""

from typing import Any

import numpy as np
import torch
from torch import nn

from tasks.core.errors import ModelError
from tasks.core.inputs import Inputs
from tasks.core.precision import Scratch, run_float32, run_float64, run_perturbed
from tasks.core.probes import Array, Probe
from tasks.core.structures import flatten


class Reference:
    """Answers of one module, each computed once while it is kept."""

    def __init__(self, model: nn.Module, inputs: Inputs) -> None:
        self._model = model
        self._inputs = inputs
        self.file_answers: dict[tuple[str, str, tuple[object, ...]], list[Array]] = {}
        """What a file answered when it was tried after its export, by SHA-256, level and probe: not run twice."""
        self._scratch = Scratch()
        self._kept: dict[tuple[object, ...], list[Array]] = {}

    def float32(self, probe: Probe) -> list[Array]:
        """Outputs of the module as it is, flattened."""
        return self._answer("float32", probe, run_float32)

    def float64(self, probe: Probe) -> list[Array]:
        """Outputs of the module computed in float64, flattened."""
        return self._answer("float64", probe, run_float64, scratch=self._scratch)

    def again(self, probe: Probe) -> list[Array]:
        """Outputs in float32, computed anew."""
        return self._call(run_float32, probe)

    def perturbed(self, probe: Probe, *, seed: int) -> list[Array]:
        """Outputs in float32 with each weight moved by one rounding."""
        return self._answer(f"perturbed {seed}", probe, run_perturbed, seed=seed)

    def release(self) -> None:
        """Let the memory of the float64 runs and all that is kept go."""
        self.file_answers.clear()
        self._scratch = Scratch()
        self._kept.clear()

    def forget(self, probe: Probe) -> None:
        """Drop what is kept of a probe."""
        self._kept = {key: answer for key, answer in self._kept.items() if key[1:] != probe.key}

    def _answer(self, how: str, probe: Probe, run: Any, **options: Any) -> list[Array]:
        key = (how, *probe.key)
        if key not in self._kept:
            self._kept[key] = self._call(run, probe, **options)
        return self._kept[key]

    def _call(self, run: Any, probe: Probe, **options: Any) -> list[Array]:
        args, kwargs = self._inputs.arguments(self._inputs.arrays(probe))
        try:
            output = run(self._model, args, kwargs, **options)
        except Exception as error:  # the user's forward may raise anything; it becomes one sentence
            said = " ".join(f"{type(error).__name__}: {error}".split())[:300].rstrip(".")
            sizes = ", ".join(f"{name}={size}" for name, size in probe.sizes.items()) or "its fixed sizes"
            raise ModelError(
                f"{type(self._model).__name__} raised at {sizes} ({probe.family} inputs, {run.__name__}): {said}; "
                f"narrow the range or the bounds of its inputs (NAME=DTYPE[WORD:LOW..HIGH]@LOW..HIGH)."
            ) from error
        return [_array(tensor) for _, tensor in flatten(output)]


def _array(tensor: torch.Tensor) -> Array:
    tensor = tensor.detach().cpu()
    # a copy: the tensor may be a buffer that the next call changes
    return np.array(tensor.float().numpy() if tensor.dtype == torch.bfloat16 else tensor.numpy())
