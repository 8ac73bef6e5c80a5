"""Hold the weights of a module against the constants of a file: each is found, folded, or not accounted for."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tasks.core.accounting.constants import FOLDED, Constants, Found, Nearest
from tasks.core.arrays import Array, rms
from tasks.core.forward.fixed_values import FixedValues, Normalised, weights_of

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


@dataclass(frozen=True, eq=False)
class Altered:
    """A constant that should be a weight, or what is computed from weights, and has other elements."""

    weight: str
    """Name of the weight."""
    constant: str
    """Name of the constant."""
    place: int | str
    """In whose place the file has the constant: the weight's name, or the number of the fixed value."""
    change: Array
    """What the constant has more than that, in its shape; a folded constant's as far as it is the weight's."""

    @property
    def sentence(self) -> str:
        """What a reader is told of a file that computes with the constant."""
        first = np.argwhere(self.change)[0]
        share = f"{np.count_nonzero(self.change):,} of {self.change.size:,}"
        return (
            f"constant {self.constant} should be the module's {self.weight}, but {share} "
            f"elements are others, the first at {first.tolist()} by {self.change[tuple(first)]:.2g}, and the answers "
            f"are off by just what that makes of them"
        )


@dataclass(frozen=True)
class Account:
    """Which weights a file holds, and what it holds besides."""

    weights: tuple[Weight, ...]
    altered: tuple[Altered, ...]
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
    ledger.explain_others()
    return Account(weights, tuple(ledger.altered), tuple(ledger.constants.unexplained(least=LEAST_UNEXPLAINED)))


class _Ledger:
    """What was found so far."""

    def __init__(self, constants: Constants, model: nn.Module, fixed: FixedValues) -> None:
        self.constants, self._fixed = constants, fixed
        tensors = weights_of(model)
        self.used = [name for name in tensors if name in fixed.weights]
        self._arrays = {name: _array(tensors[name]) for name in self.used}
        self.constants.reserved.update(self.used)
        # those first that have a constant of their own name
        ordered = sorted(self._arrays, key=lambda name: name not in self.constants.arrays)
        self._found = {name: self.constants.find(self._arrays[name], name=name) for name in ordered}
        self._values: dict[int, Found | None] = {}
        self._missing: dict[str, NDArray[np.bool_]] = {}
        self.altered: list[Altered] = []
        for norm in fixed.normalised:
            self._account_for_norm(norm)
        for name, array in self._arrays.items():
            self._found[name] = self._found[name] or self.constants.in_pieces(array)

    def weight(self, name: str) -> Weight:
        """What became of one weight."""
        array, missing = self._arrays[name], None
        found = self._found[name] or self._by_uses(name)
        if found and found.is_shared and not self.constants.lacks(array, name=name):
            found = (
                None  # the file has another constant of this size, which no tensor explains: perhaps this one, changed
            )
        if not found and array.size and (array == array.flat[0]).all() and array.flat[0] in (0, 1):
            # exporters leave out what adds 0 or multiplies by 1
            found = Found(FOLDED, ()) if self.constants.lacks(array, name=name) else None
        if not found:
            missing = self._nearest_to(name)
        return Weight(name, array.size, found, missing)

    def _nearest_to(self, name: str) -> NDArray[np.bool_]:
        """Which elements of a weight the file does not have; what it has instead is noted, of it or its uses."""
        array = self._arrays[name]
        nearest = self.constants.nearest(array, name=name)
        own = [n for n, value in enumerate(self._fixed.values) if name in value.weights and not value.parts]
        self._note(name, own[0], nearest, wanted=array)
        if name in self._missing and not nearest.name:
            return self._missing[name]
        for number in self._uses(name) if not nearest.name else ():
            if not self._value(number) and self._fixed.values[number].tensor.is_floating_point():
                value = _array(self._fixed.values[number].tensor)
                self._note(name, number, self.constants.nearest(value, rounding=rms(value)), wanted=value)
        return nearest.missing

    def _note(self, name: str, number: int, nearest: Nearest, *, wanted: Array, factor: Array | float = 1.0) -> None:
        """Note what a constant has instead of a fixed value, times a factor."""
        if nearest.values is not None and wanted.dtype.kind == "f" and nearest.differs.any():
            change = np.where(nearest.differs, nearest.values.astype(np.float64) - wanted, 0.0) * factor
            place = number if self._fixed.values[number].parts else name
            self.altered.append(Altered(name, nearest.name, place, change))

    def explain_others(self) -> None:
        """Find what the module makes of nothing, such as a grid of places, so that it is not taken for a weight."""
        for number in self._fixed.used:
            if not self._fixed.values[number].weights and self.constants.unexplained(least=LEAST_UNEXPLAINED):
                self.constants.find(_array(self._fixed.values[number].tensor))

    def _by_uses(self, name: str) -> Found | None:
        """A weight is folded where all that the module makes of it before it meets an input is in the file."""
        found = [self._value(number) for number in self._uses(name)]
        if not all(found):
            return None
        return Found(FOLDED, tuple(dict.fromkeys(n for where in found if where for n in where.names)))

    def _uses(self, name: str) -> list[int]:
        return [n for n in self._fixed.used if name in self._fixed.values[n].weights]

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
                    together
                    if all(parts)
                    else self.constants.find(array)
                    or (self.constants.close_to(array, scale=rms(array)) if is_whole else None)
                )
        return self._values[number]

    def _account_for_norm(self, norm: Normalised) -> None:
        """A normalisation that the file has within the weights of the layer before it."""
        numbers = [norm.weight, *([] if norm.bias is None else [norm.bias]), *norm.norm.values()]
        names = {name for number in numbers for name in self._fixed.values[number].weights}
        if all(self._found[name] for name in names):
            return
        scale, shift, terms = self._scale_and_shift(norm)
        folded = _times(self._double(norm.weight), scale, num_groups=norm.num_groups)
        where = self.constants.close_to(folded, scale=rms(folded)), self.constants.close_to(shift, scale=terms)
        if all(where):
            both = Found(FOLDED, tuple(name for found in where if found for name in found.names))
            self._found |= {name: self._found[name] or both for name in names}
            return
        if all(self._found[name] for name in self._fixed.values[norm.weight].weights):
            return  # the file has the layer as it is, and the norm apart
        nearest, behind = (
            self.constants.nearest(folded, rounding=rms(folded)),
            self.constants.nearest(shift, rounding=terms),
        )
        name = next(iter(self._fixed.values[norm.weight].weights or names))
        inverse = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale != 0)
        unscaled = _times(np.ones(folded.shape), inverse, num_groups=norm.num_groups)
        self._note(name, norm.weight, nearest, wanted=folded, factor=unscaled)
        # what the file adds to a channel it might have in the norm's own bias, or less in its mean
        key, factor = ("bias", 1.0) if "bias" in norm.norm else ("running_mean", -inverse)
        self._note(name, norm.norm[key], behind, wanted=shift, factor=factor)
        in_weight, by_channel = nearest.missing, behind.missing
        if not norm.num_groups:
            by_channel = by_channel | in_weight.reshape(len(in_weight), -1).any(axis=1)
        for name in names:
            shape = self._arrays[name].shape
            self._missing[name] = next((m for m in (in_weight, by_channel) if m.shape == shape), np.ones(shape, bool))

    def _scale_and_shift(self, norm: Normalised) -> tuple[Array, Array, Array]:
        """By channel of the layer's outputs: what its weights are multiplied with, and what its bias becomes.

        The third are the sizes of the numbers that add up to the second.
        """
        tensors = {key: self._double(number) for key, number in norm.norm.items()}
        mean, var = tensors["running_mean"], tensors["running_var"]
        scale = tensors.get("weight", np.ones_like(var)) / np.sqrt(var + norm.eps)
        bias = np.zeros_like(mean) if norm.bias is None else self._double(norm.bias)
        last = tensors.get("bias", np.zeros_like(mean))
        shift = (bias - mean) * scale + last
        return scale, shift, (np.abs(bias) + np.abs(mean)) * np.abs(scale) + np.abs(last) + rms(shift)

    def _double(self, number: int) -> Array:
        """A fixed value in float64."""
        return _array(self._fixed.values[number].tensor).astype(np.float64)


def _times(weight: Array, scale: Array, *, num_groups: int) -> Array:
    """A weight times a factor for each output; that of a transposed convolution has inputs first, group after group."""
    if not num_groups:
        return np.asarray(weight * scale.reshape(-1, *[1] * (weight.ndim - 1)))
    grouped = weight.reshape(num_groups, -1, *weight.shape[1:])
    factors = scale.reshape(num_groups, 1, -1, *[1] * (weight.ndim - 2))
    return np.asarray((grouped * factors).reshape(weight.shape))


def _array(tensor: torch.Tensor) -> Array:
    tensor = tensor.detach().cpu().resolve_conj().resolve_neg()
    tensor = tensor.dequantize() if tensor.is_quantized else tensor.to_dense() if tensor.is_sparse else tensor
    return np.asarray((tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy())
