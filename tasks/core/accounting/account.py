"""Hold the weights of a module against the constants of a file: each is found, folded, or not accounted for."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tasks.core.accounting.constants import FOLDED, Constants, Found
from tasks.core.arrays import Array
from tasks.core.forward.fixed_values import FixedValues, Normalised

LEAST_UNEXPLAINED = 16
"""Number of elements from which a constant that is no weight is worth a word: exporters make smaller ones."""


@dataclass(frozen=True)
class Weight:
    """A parameter or buffer that forward uses."""

    name: str
    num_elements: int
    found: Found | None
    """Where the file has it; None: not, or not all of it."""
    missing: NDArray[np.bool_] | None = None
    """Of one that is not found: which elements the file does not have, in the weight's shape."""


@dataclass(frozen=True)
class Account:
    """Which weights a file holds, and what it holds besides."""

    weights: tuple[Weight, ...]
    unexplained: tuple[str, ...]
    """Names of its constants of floats, but for small ones, that no weight explains."""


def account(path: Path, model: nn.Module, fixed: FixedValues) -> Account:
    """Look for every weight that a run of the module used among the constants of a file.

    Args:
        path: of the file.
        model: the module.
        fixed: what a run of it computed from weights alone.
    """
    ledger = _Ledger(Constants.of(path), model, fixed)
    weights = tuple(ledger.weight(name) for name in ledger.used)
    return Account(weights, tuple(ledger.constants.unexplained(least=LEAST_UNEXPLAINED)))


class _Ledger:
    """What was found so far."""

    def __init__(self, constants: Constants, model: nn.Module, fixed: FixedValues) -> None:
        self.constants, self._fixed = constants, fixed
        tensors: dict[str, torch.Tensor] = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        used = {name for number in fixed.used for name in fixed.values[number].weights}
        self.used = [name for name in tensors if name in used]
        self._arrays = {name: _array(tensors[name]) for name in self.used}
        self._found = {name: self.constants.find(array) for name, array in self._arrays.items()}
        self._values: dict[int, Found | None] = {}
        self._missing: dict[str, NDArray[np.bool_]] = {}
        for norm in fixed.normalised:
            self._account_for_norm(norm)
        for name, array in self._arrays.items():
            self._found[name] = self._found[name] or self.constants.in_pieces(array)

    def weight(self, name: str) -> Weight:
        """What became of one weight."""
        found = self._found[name] or self._by_uses(name)
        missing = None
        if not found:
            missing = self._missing[name] if name in self._missing else self.constants.differing(self._arrays[name])
        return Weight(name, self._arrays[name].size, found, missing)

    def _by_uses(self, name: str) -> Found | None:
        """A weight is folded where all that the module makes of it before it meets an input is in the file."""
        uses = [n for n in self._fixed.used if name in self._fixed.values[n].weights]
        found = [self._value(number) for number in uses]
        if not all(found):
            return None
        return Found(FOLDED, tuple(dict.fromkeys(n for where in found if where for n in where.names)))

    def _value(self, number: int) -> Found | None:
        """Where a fixed value is; one whose parts are all there is computed by the file."""
        if number not in self._values:
            value = self._fixed.values[number]
            if not value.parts and value.weights:
                self._values[number] = self._found[next(iter(value.weights))]
            elif not value.weights:
                self._values[number] = Found(FOLDED, ())
            else:
                array = _array(value.tensor)
                parts = [self._value(part) for part in value.parts]
                together = Found(FOLDED, tuple(n for part in parts if part for n in part.names))
                is_whole = value.tensor.is_floating_point() and array.size > 1
                self._values[number] = (
                    together if all(parts) else self.constants.find(array) or (self.constants.close_to(array) if is_whole else None)
                )
        return self._values[number]

    def _account_for_norm(self, norm: Normalised) -> None:
        """A normalisation that the file has within the weights of the layer before it."""
        names = [norm.weight, norm.bias, *norm.norm.values()]
        if all(self._found.get(name) for name in names if name):
            return
        scale, shift = _scale_and_shift(norm, self._arrays)
        weight = self._arrays[norm.weight].astype(np.float64)
        folded = _times(weight, scale, num_groups=norm.num_groups if norm.is_transposed else 0)
        where = self.constants.close_to(folded), self.constants.close_to(shift)
        for name in filter(None, names):
            if all(where):
                self._found[name] = Found(FOLDED, tuple(n for found in where if found for n in found.names))
            elif not self._found.get(name):
                self._missing[name] = self._missing_of(name, norm, folded, shift)

    def _missing_of(self, name: str, norm: Normalised, folded: Array, shift: Array) -> NDArray[np.bool_]:
        """Which elements of a weight the folded constants do not have."""
        in_weight = self.constants.differing(folded, rounded=True)
        if name == norm.weight:
            return in_weight
        axes = tuple(axis for axis in range(in_weight.ndim) if axis != (1 if norm.is_transposed else 0))
        rows = in_weight.any(axis=axes)
        by_channel = self.constants.differing(shift, rounded=True)
        if rows.shape == by_channel.shape and name in (norm.norm.get("weight"), norm.norm.get("running_var")):
            by_channel = by_channel | rows
        return by_channel


def _scale_and_shift(norm: Normalised, arrays: Mapping[str, Array]) -> tuple[Array, Array]:
    """By channel of the layer's outputs: what its weights are multiplied with, and what its bias becomes."""
    tensors = {key: arrays[name].astype(np.float64) for key, name in norm.norm.items()}
    mean, var = tensors["running_mean"], tensors["running_var"]
    scale = tensors.get("weight", np.ones_like(var)) / np.sqrt(var + norm.eps)
    bias = arrays[norm.bias].astype(np.float64) if norm.bias else np.zeros_like(mean)
    return scale, (bias - mean) * scale + tensors.get("bias", np.zeros_like(mean))


def _times(weight: Array, scale: Array, *, num_groups: int) -> Array:
    """A weight times a factor for each output; that of a transposed convolution has inputs first, group after group."""
    if not num_groups:
        return np.asarray(weight * scale.reshape(-1, *[1] * (weight.ndim - 1)))
    grouped = weight.reshape(num_groups, -1, *weight.shape[1:])
    factors = scale.reshape(num_groups, 1, -1, *[1] * (weight.ndim - 2))
    return np.asarray((grouped * factors).reshape(weight.shape))


def _array(tensor: torch.Tensor) -> Array:
    tensor = tensor.detach().cpu()
    return np.asarray((tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy())


def summary(weights: Iterable[Weight]) -> dict[str, int]:
    """How many weights there are of each kind; those that are not found are `unaccounted`."""
    counts: dict[str, int] = {}
    for weight in weights:
        kind = weight.found.kind if weight.found else "unaccounted"
        counts[kind] = counts.get(kind, 0) + 1
    return counts
