"""Record which operators and parameters made each activation, and rescale it at those parameters."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_leaves

from tasks.core.forward.operator_mode import OperatorMode

SHARE_LOW, SHARE_HIGH = 0.05, 0.98
"""Share of a residual branch in its sum, by root mean square, outside of which it is rescaled: inside 1 % to 100 %,
so that other inputs stay inside that, too."""
_BIAS_RATIO = 2.0
"""Least ratio, by root mean square, of a layer's product to its bias: below it a deep stack forgets its input."""
_MAX_DEPTH = 200
"""Operators without parameters to look behind, well below Python's limit of 1,000 calls."""
_NORMS = {"native_batch_norm", "native_layer_norm", "native_group_norm"}
_BIASES = {"convolution": 2, "addmm": 0}
_PRODUCTS = {"mul", "mul_", "mm", "bmm", "mv", "_weight_norm_interface"}
_SUMS = {"add", "add_", "sub", "sub_", "cat", "stack"}
_SCORES = {"_softmax", "sigmoid", "sigmoid_"}
_NOT_PROPORTIONAL = {"hardsigmoid", "hardsigmoid_", "tanh", "tanh_", "detach", "exp", "log", "sqrt", "rsqrt"} | _SCORES


@dataclass(eq=False, slots=True)
class Op:
    """An operator that ran, or (with `parameter`) a leaf; `depends_on_input` means that the input reaches it."""

    name: str
    inputs: tuple["Op", ...] = ()
    depends_on_input: bool = False
    parameter: nn.Parameter | None = None
    logits: torch.Tensor | None = None


class OriginRecorder(OperatorMode):
    """Records the operator behind every activation, and rescales residual sums and products as they are formed."""

    def __init__(self, module: nn.Module, *, keep_logits: bool = False, raise_products: bool = False) -> None:
        """`keep_logits`: keep what softmax and sigmoid take, and what is compared with a threshold.

        `raise_products`: rescale weights whose product with an activation is small beside the bias.
        """
        super().__init__()
        # run_float64 swaps the data of the modules that are running: these are the lasting tensors.
        self.stored = {parameter: parameter.data for parameter in module.parameters()}
        self.leaves = {id(parameter): Op("leaf", parameter=parameter) for parameter in self.stored}
        self.num_rescaled = 0
        self.rescaled: set[nn.Parameter] = set()
        self.keep_logits, self.raise_products = keep_logits, raise_products
        self.score_threshold = 0.5
        """What scores were compared with last."""
        self.compared: list[tuple[Op, torch.Tensor]] = []
        """What was compared with it."""

    def op_of(self, tensor: torch.Tensor) -> Op:
        """The operator that made a tensor."""
        found = self.leaves.get(id(tensor)) or getattr(tensor, "assay_op", None)
        return found if isinstance(found, Op) else Op("constant")

    def scale(self, op: Op, factor: float, *, stop: set[Op]) -> bool:
        """Multiply the parameters that an operator's result is proportional to; False: there are none.

        Args:
            op: the operator.
            factor: a power of two.
            stop: operators behind which nothing is looked for.
        """
        with _disable_current_modes():
            found = parameters_of(op, set(stop))
            if found & self.rescaled:  # a recurrent layer meets its weights at every step
                return False
            self.rescaled |= found
            for parameter in found:
                self.stored[parameter].mul_(factor)
        self.num_rescaled += bool(found)
        return bool(found)

    def __torch_dispatch__(  # type: ignore[no-untyped-def]  # noqa: PLR0917  # torch's own signature
        self, func, types, args=(), kwargs=None
    ):
        name = getattr(func, "overloadpacket", func).__name__
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        ops = tuple(self.op_of(tensor) for tensor in tensors)
        live = [tensor for tensor, op in zip(tensors, ops, strict=True) if op.depends_on_input and name != "detach"]
        made = Op(name, ops, depends_on_input=bool(live))
        if self.keep_logits and name == "gt" and live and isinstance(args[1], float) and 0 < args[1] < 1:
            if args[1] != self.score_threshold:
                self.score_threshold = args[1]
                self.compared.clear()
            self.compared.append((ops[0], args[0]))
        if self.keep_logits and live and name in _SCORES:
            made.logits = tensors[0].clone()
        are_floats = all(tensor.is_floating_point() for tensor in live)
        if are_floats and name in ("add", "add_") and len(args) == len(live) == 2 and live[0].shape == live[1].shape:
            args = self._rescale_branch(args, ops)
        output = self.call(func, args, kwargs)
        if self.raise_products and name in _BIASES and live and len(tensors) == 3:
            output = self._raise_product(tensors.pop(_BIASES[name]), tensors, output)
        # As with gradients, integers computed from activations (argmax, nms) end the line; token ids do not.
        ended = Op("constant") if any(tensor.is_floating_point() for tensor in live) else made
        for tensor in tree_leaves(output):
            if isinstance(tensor, torch.Tensor):
                tensor.assay_op = made if tensor.is_floating_point() else ended  # type: ignore[attr-defined]
        return output

    def _raise_product(self, bias: torch.Tensor, factors: list[torch.Tensor], output: torch.Tensor) -> Any:
        """Scale up a weight whose product with an activation is small beside the bias, and the output now."""
        bias = bias.reshape(-1, *[1] * (output.ndim - 2))  # channels come second
        product = output - bias
        wanted, found = mean_square(bias) * _BIAS_RATIO**2, mean_square(product)
        weights = [op for op in map(self.op_of, factors) if not op.depends_on_input]
        if not (0 < found < wanted < math.inf and len(weights) == 1):
            return output
        factor = 2.0 ** math.ceil(math.log2(wanted / found) / 2)
        return product * factor + bias if self.scale(weights[0], factor, stop=set()) else output

    def _rescale_branch(self, terms: Any, ops: tuple[Op, ...]) -> Any:
        """Scale a residual branch whose share of the sum is out of bounds, and its value now."""
        behind = [_ancestors(op) for op in ops]
        branches = [1] if ops[0] in behind[1] else [0] if ops[1] in behind[0] else [0, 1]
        powers, total = [mean_square(term) for term in terms], mean_square(terms[0] + terms[1])
        if not (total > 0 and all(0 < each < math.inf for each in powers)):
            return terms
        shares = {branch: math.sqrt(powers[branch] / total) for branch in branches}
        branch = min(branches, key=lambda branch: powers[branch])
        # Of two branches the larger may well be all there is; a single one must leave room for its trunk.
        largest = SHARE_HIGH if len(branches) == 1 else 1.0
        factor = 2.0 ** round(math.log2(0.5 * math.sqrt(powers[1 - branch] / powers[branch])))
        if (shares[branch] >= SHARE_LOW and max(shares.values()) <= largest) or factor == 1:
            return terms
        if not self.scale(ops[branch], factor, stop=behind[1 - branch]):
            return terms
        if 0 in terms[branch].stride():  # an expanded tensor can't be written
            return tuple(term * factor if index == branch else term for index, term in enumerate(terms))
        # In place, or another sum of the same branch would find it small and scale the same parameters again.
        terms[branch].mul_(factor)
        return terms


def mean_square(value: torch.Tensor) -> float:
    """Mean square."""
    return float(value.double().square().mean())


def _ancestors(op: Op) -> set[Op]:
    """Find `op` and every activation that it comes from."""
    seen, waiting = {op}, [op]
    while waiting:
        new = {parent for parent in waiting.pop().inputs if parent.depends_on_input} - seen
        seen |= new
        waiting += new
    return seen


def parameters_of(op: Op, seen: set[Op], depth: int = 0) -> set[nn.Parameter]:
    """Find the last parameters such that multiplying all of them multiplies an operator's result (nearly) alike.

    Args:
        op: the operator.
        seen: operators that are not looked behind; those that were met are added.
        depth: how many operators lie between this one and the first.
    """
    if op.parameter is not None:
        return {op.parameter}
    if op in seen or op.name in _NOT_PROPORTIONAL or depth > _MAX_DEPTH:
        return set()
    seen.add(op)
    factors: tuple[Op, ...] = ()
    terms = op.inputs
    if op.name in _NORMS:
        terms = op.inputs[1:3]
    elif op.name in _BIASES:
        at = _BIASES[op.name]
        factors, terms = op.inputs[:at] + op.inputs[at + 1 :], op.inputs[at : at + 1]
    elif op.name in _PRODUCTS:
        factors, terms = op.inputs, ()
    elif op.name not in _SUMS and op.depends_on_input:
        terms = tuple(parent for parent in op.inputs if parent.depends_on_input)
    found = {parameter for term in terms for parameter in parameters_of(term, seen, depth + 1)}
    # One factor is enough, and a weight is better than what it is multiplied with.
    weights_first = sorted(factors, key=lambda factor: factor.depends_on_input)
    candidates = (parameters_of(factor, seen, depth + 1) for factor in weights_first)
    return found | next(filter(None, candidates), set())
