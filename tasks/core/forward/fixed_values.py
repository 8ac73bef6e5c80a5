"""What a module computes from its weights alone, whatever its inputs are: exporters fold these values into constants."""

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
    """A convolution, or a product with a matrix, whose result is normalised by fixed statistics: exporters fold both."""

    weight: str
    """Name of the layer's weight."""
    bias: str
    """Of its bias; empty: it has none."""
    is_transposed: bool
    """The layer is a transposed convolution."""
    num_groups: int
    norm: dict[str, str]
    """Names of the tensors of the normalisation: weight, bias, running_mean, running_var, where it has them."""
    eps: float


class FixedValues(OperatorMode):
    """Notes fixed values while a module runs once."""

    def __init__(self, model: nn.Module) -> None:
        """Know the module's weights, of which several names may be one tensor."""
        super().__init__()
        self.values: list[FixedValue] = []
        self.used: dict[int, None] = {}
        """Numbers of the values that meet a value which depends on an input, or are returned."""
        self.normalised: list[Normalised] = []
        self._names: dict[int, str] = {}
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            self._names.setdefault(id(tensor), name)
        self._numbers: dict[int, int] = {}
        """By id of a tensor, which `values` keeps alive."""
        self._written: set[int] = set()
        """Storages of weights into which values that depend on inputs were written."""
        self._layers: Any = WeakIdKeyDictionary()
        """Operator, arguments and weights of the layer that a value comes from."""
        self._inputs: Any = WeakIdKeyDictionary()

    def depends_on_inputs(self, *structures: Any) -> None:
        """These tensors are inputs."""
        for tensor in _tensors(structures):
            self._inputs[tensor] = True

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
        self.used |= dict.fromkeys(fixed)
        if is_mutable(func):
            self._written.add(given[0].untyped_storage()._cdata)
        self.depends_on_inputs(outputs)
        if name.startswith(_LAYERS):
            for tensor in outputs:
                self._layers[tensor] = (name, args)
        elif name.startswith(_NORMS):
            self._note_norm(args)
        return answer

    def returned(self, answer: Any) -> None:
        """Fixed values among what forward returns are used, too."""
        self.used |= dict.fromkeys(number for t in _tensors(answer) if (number := self._number_of(t)) is not None)

    def _number_of(self, tensor: torch.Tensor) -> int | None:
        """The number of a fixed value; None: the tensor depends on the inputs."""
        if tensor in self._inputs or tensor.untyped_storage()._cdata in self._written:
            return None
        if id(tensor) not in self._numbers:
            name = self._names.get(id(tensor))
            self._numbers[id(tensor)] = len(self.values)
            self.values.append(FixedValue(tensor, frozenset([name] if name else ())))
        return self._numbers[id(tensor)]

    def _is_weight(self, tensor: torch.Tensor) -> bool:
        return id(tensor) in self._names

    def _note_norm(self, args: Any) -> None:
        layer, layer_args = self._layers.get(args[0], ("", ()))
        if not layer:
            return
        if layer.startswith("aten.convolution"):
            weight, bias, is_transposed, groups = layer_args[1], layer_args[2], layer_args[6], layer_args[8]
        else:
            weight, bias, is_transposed, groups = layer_args[-1], layer_args[0] if len(layer_args) > 2 else None, False, 1
        named = [self._weight_behind(tensor) for tensor in (weight, bias, *args[1:5])]
        if named[0]:
            norm = {key: name for key, name in zip(_NAMES, named[2:], strict=True) if name}
            self.normalised.append(Normalised(named[0], named[1], is_transposed, groups, norm, float(args[-1])))

    def _weight_behind(self, tensor: Any) -> str:
        """Name of the weight that a tensor is, or is a view of; empty: of none."""
        if not isinstance(tensor, torch.Tensor) or (number := self._number_of(tensor)) is None:
            return ""
        value = self.values[number]
        return next(iter(value.weights)) if len(value.weights) == 1 else ""


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
