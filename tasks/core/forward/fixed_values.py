"""What a module computes from its weights alone, whatever its inputs are: exporters make constants of it."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from tasks.core.forward.operator_mode import OperatorMode, is_mutable
from tasks.core.forward.precision import Args, Kwargs, run_float32

_NORMS = ("aten.native_batch_norm", "aten._native_batch_norm_legit_no_training", "aten.cudnn_batch_norm")
_LAYERS = ("aten.convolution", "aten.addmm", "aten.mm", "aten.bmm")
_NAMES = ("weight", "bias", "running_mean", "running_var")
"""Of a normalisation, in the order of its operands."""


@dataclass(frozen=True)
class FixedValue:
    """A value that does not depend on the inputs."""

    tensor: torch.Tensor
    weights: frozenset[str]
    """Names of the parameters and buffers that it is computed from; none if PyTorch made it of nothing."""
    parts: tuple[int, ...] = ()
    """Numbers of the fixed values that it is computed from by one operator; none of a weight itself."""


@dataclass(frozen=True)
class Normalised:
    """A convolution or a product whose result is normalised by fixed statistics: exporters fold one into the other."""

    weight: int
    """Number of the layer's weight among the fixed values, outputs first but for a transposed convolution."""
    bias: int | None
    num_groups: int
    """Of a transposed convolution; 0: it is none."""
    norm: dict[str, int]
    """Numbers of the tensors of the normalisation: weight, bias, running_mean, running_var, where it has them."""
    eps: float


class FixedValues(OperatorMode):
    """Notes fixed values while a module runs, once or, where it may take another way, several times."""

    def __init__(self, model: nn.Module) -> None:
        """Know the module's weights, of which several names may be one tensor."""
        super().__init__()
        self.values: list[FixedValue] = []
        self.used: tuple[int, ...] = ()
        """Numbers of the values that meet one which depends on an input, on the way to an output, or are returned."""
        self.normalised: list[Normalised] = []
        self._names: dict[int, str] = {}
        for name, tensor in weights_of(model).items():
            self._names.setdefault(id(tensor), name)
        self._numbers: dict[int, int] = {}
        """By id of a tensor, which `values` keeps alive."""
        self._written: dict[int, int] = {}
        """By storage into which was written what depends on inputs: which fixed values reached it, bit by bit."""
        self._layers: Any = WeakIdKeyDictionary()
        """Operator, arguments and weights of the layer that a value comes from."""
        self._reached: Any = WeakIdKeyDictionary()
        """By tensor that depends on an input: which fixed values reached it, bit by bit."""

    def depends_on_inputs(self, *structures: Any, reached: int = 0) -> None:
        """These tensors are inputs, or computed from them.

        Args:
            structures: with tensors in them.
            reached: which fixed values they were computed from, bit by bit.
        """
        for tensor in _tensors(structures):
            self._reached[tensor] = reached

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: PLR0917
        given = _tensors((args, kwargs))
        numbers = [self._number_of(tensor) for tensor in given]
        fixed = [number for number in numbers if number is not None]
        name = str(func)
        is_fixed = len(fixed) == len(given) and not (given and is_mutable(func) and self._is_weight(given[0]))
        answer = self.call(func, args, kwargs)
        outputs = _tensors(answer)
        if is_fixed and "rand" not in name:
            for tensor in outputs:
                weights = frozenset[str]().union(*(self.values[number].weights for number in fixed))
                self._numbers[id(tensor)] = len(self.values)
                self.values.append(FixedValue(tensor, weights, tuple(fixed)))
            return answer
        reached = self._reach(given)
        if is_mutable(func):
            storage = given[0].untyped_storage()._cdata
            self._written[storage] = reached | self._written.get(storage, 0)
        for tensor in outputs:  # of control flow, what the operators inside were given reached it, too
            self.depends_on_inputs(tensor, reached=reached | self._reached.get(tensor, 0))
        if name.startswith(_LAYERS):
            for tensor in outputs:
                self._layers[tensor] = (name, args)
        elif name.startswith(_NORMS):
            self._note_norm(args)
        return answer

    def returned(self, answer: Any) -> None:
        """Take what forward returns: what reached it was used."""
        reached = self._reach(_tensors(answer))
        self.used += tuple(n for n in range(len(self.values)) if reached >> n & 1 and n not in self.used)
        self._written.clear()

    @property
    def weights(self) -> frozenset[str]:
        """Names of the weights that were used."""
        return frozenset[str]().union(*(self.values[number].weights for number in self.used))

    def _reach(self, tensors: list[torch.Tensor]) -> int:
        """Which fixed values tensors are, or are computed from, bit by bit."""
        reached = 0
        for tensor in tensors:
            number = self._number_of(tensor)
            reached |= self._reached.get(tensor, 0) if number is None else 1 << number
            reached |= self._written.get(tensor.untyped_storage()._cdata, 0)
        return reached

    def _number_of(self, tensor: torch.Tensor) -> int | None:
        """The number of a fixed value; None: the tensor depends on the inputs."""
        if tensor in self._reached or tensor.untyped_storage()._cdata in self._written:
            return None
        if id(tensor) not in self._numbers:
            name = self._names.get(id(tensor))
            self._numbers[id(tensor)] = len(self.values)
            self.values.append(FixedValue(tensor, frozenset([name] if name else ())))
        return self._numbers[id(tensor)]

    def _is_weight(self, tensor: torch.Tensor) -> bool:
        return id(tensor) in self._names

    def _note_norm(self, args: Any) -> None:
        """Note a normalisation right after a layer, both of fixed values."""
        layer, layer_args = self._layers.get(args[0], ("", ()))
        if not layer:
            return
        is_convolution = layer.startswith("aten.convolution")
        weight, bias = (
            layer_args[1:3] if is_convolution else (layer_args[-1], layer_args[0] if layer_args[2:] else None)
        )
        num_groups = layer_args[8] if is_convolution and layer_args[6] else 0
        number = self._number_of(weight)
        # a product takes the transposed weight
        own = number if is_convolution or number is None else next(iter(self.values[number].parts), None)
        tensors = dict(zip(_NAMES, args[1:5], strict=True))
        norm = {name: self._number_of(tensor) for name, tensor in tensors.items() if tensor is not None}
        fixed = {name: number for name, number in norm.items() if number is not None}
        if own is not None and len(fixed) == len(norm):
            behind = None if bias is None else self._number_of(bias)
            self.normalised.append(Normalised(own, behind, num_groups, fixed, float(args[-1])))


def weights_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and buffers by name; of several names of one tensor the first."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def run_for_fixed(model: nn.Module, args: Args, kwargs: Kwargs, *, fixed: FixedValues) -> Any:
    """Call a module in float32 while its fixed values are noted.

    Args:
        model: any module.
        args: of forward.
        kwargs: of forward.
        fixed: gets them.
    """
    fixed.depends_on_inputs(args, kwargs)
    with fixed:
        answer = run_float32(model, args, kwargs)
    fixed.returned(answer)
    return answer


def _tensors(structure: Any) -> list[torch.Tensor]:
    return [value for value in tree_leaves(structure) if isinstance(value, torch.Tensor)]
