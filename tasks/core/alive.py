"""Random weights under which every part of a model shows in its outputs.

Stock initialisation is often dead (zero heads, layer scales of 1e-6, normalisation statistics that
fit no data): a proof on such weights proves little. Here the module runs a few times in float64 on
its example. A dispatch mode records which operators made each activation, so that what is too quiet
or too loud is mended at the parameters that it is proportional to, without knowing models by name.

Every factor is a power of two and every statistic keeps 16 bits: float64 sums may differ in their
last bit with the alignment of memory, and that must not reach the tensors.
"""

import contextlib
import copy
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map

from tasks.core.precision import run_float64

Arguments = tuple[tuple[Any, ...], dict[str, Any]]

NUM_PASSES = 4
"""Forward passes at most; classifiers need one or two, detectors two or three."""

TINY = 1e-3
"""Weights all below this are redrawn: stock draws reach further, layer scales start at 1e-6 to 1e-4."""

SHARE_LOW, SHARE_HIGH = 0.05, 0.98
"""Where a branch is mended: inside 1 % to 100 %, so that other inputs stay inside too."""

OUTPUT_LOW, OUTPUT_HIGH = 0.05, 20.0
"""Root mean square of an output, in its own unit, outside of which it is rescaled."""

BIAS_RATIO = 2.0
"""A layer's product is at least this much louder than its bias, else a deep stack forgets its input."""

SCORE_SPREAD = 8.0
"""Standard deviation of detection score logits: few candidates then lie between surely yes and surely no."""

NUM_BOXES_WANTED, MAX_BOXES = 4, 90
"""Likely candidates an image to start from; boxes at most, below torchvision's caps of 100 to 300."""

MAX_DEPTH = 200
"""Operators without parameters to look behind, well below Python's limit of 1,000 calls."""

_NORMS = {"native_batch_norm", "native_layer_norm", "native_group_norm"}
_BIASES = {"convolution": 2, "addmm": 0}
_PRODUCTS = {"mul", "mul_", "mm", "bmm", "mv", "_weight_norm_interface"}
_SUMS = {"add", "add_", "sub", "sub_", "cat", "stack"}
_SCORES = {"_softmax", "sigmoid", "sigmoid_"}
_SATURATING = {"hardsigmoid", "hardsigmoid_", "tanh", "tanh_"}
_NOT_PROPORTIONAL = _SCORES | _SATURATING | {"detach", "exp", "log", "sqrt", "rsqrt"}


@dataclass(eq=False, slots=True)
class _Op:
    """An operator that ran, or (with `parameter`) a leaf; `live` means that the input reaches it."""

    name: str
    inputs: tuple["_Op", ...] = ()
    live: bool = False
    parameter: nn.Parameter | None = None
    logits: torch.Tensor | None = None


class _Watch(TorchDispatchMode):
    """Record the operator behind every activation, and mend sums and products as they are formed."""

    def __init__(self, module: nn.Module, *, keep_logits: bool = False, mend_biases: bool = False) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's own
        # run_float64 swaps the data of the modules that are running: these are the lasting tensors.
        self.stored = {parameter: parameter.data for parameter in module.parameters()}
        self.leaves = {id(parameter): _Op("leaf", parameter=parameter) for parameter in self.stored}
        self.shares: list[float] = []
        self.num_mended = 0
        self.keep_logits = keep_logits
        self.mend_biases = mend_biases

    def op_of(self, tensor: torch.Tensor) -> _Op:
        found = self.leaves.get(id(tensor)) or getattr(tensor, "assay_op", None)
        return found if isinstance(found, _Op) else _Op("constant")

    def scale(self, op: _Op, factor: float, *, stop: set[_Op]) -> bool:
        """Multiply the parameters that `op` is proportional to; False if there are none behind `stop`."""
        with _disable_current_modes():
            found = _parameters_of(op, set(stop))
            for parameter in found:
                self.stored[parameter].mul_(factor)
        self.num_mended += bool(found)
        return bool(found)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]  # torch's own
        name = func.overloadpacket.__name__
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        ops = tuple(self.op_of(tensor) for tensor in tensors)
        live = [tensor for tensor, op in zip(tensors, ops, strict=True) if op.live and name != "detach"]
        made = _Op(name, ops, live=bool(live))
        if self.keep_logits and live and name in _SCORES:
            made.logits = tensors[0].clone()
        if name in ("add", "add_") and len(args) == len(live) == 2 and _are_alike(*live):
            args = self.mend_sum(args, ops)
        output = func(*args, **(kwargs or {}))
        if self.mend_biases and name in _BIASES and live and len(tensors) == 3:
            output = self.mend_product(tensors.pop(_BIASES[name]), tensors, output)
        # As with gradients, integers computed from activations (argmax, nms) end the line; token ids do not.
        ended = _Op("constant") if any(tensor.is_floating_point() for tensor in live) else made
        for tensor in tree_leaves(output):
            if isinstance(tensor, torch.Tensor):
                tensor.assay_op = made if tensor.is_floating_point() else ended  # type: ignore[attr-defined]
        return output

    def mend_product(self, bias: torch.Tensor, factors: list[torch.Tensor], output: torch.Tensor) -> Any:
        """Scale a weight whose product with an activation is drowned by the bias, and its output now."""
        bias = bias.reshape(-1, *[1] * (output.ndim - 2))
        product = output - bias
        loud, quiet = _power(bias) * BIAS_RATIO**2, _power(product)
        weights = [op for op in map(self.op_of, factors) if not op.live]
        if not (0 < quiet < loud < math.inf and len(weights) == 1):
            return output
        factor = 2.0 ** math.ceil(math.log2(loud / quiet) / 2)
        return product * factor + bias if self.scale(weights[0], factor, stop=set()) else output

    def mend_sum(self, terms: Any, ops: tuple[_Op, ...]) -> Any:
        """Scale a branch whose share of the sum is out of bounds, and its value now."""
        behind = [_ancestors(op) for op in ops]
        branches = [1] if ops[0] in behind[1] else [0] if ops[1] in behind[0] else [0, 1]
        powers, total = [_power(term) for term in terms], _power(terms[0] + terms[1])
        if not (total > 0 and all(0 < power < math.inf for power in powers)):
            return terms
        shares = {branch: math.sqrt(powers[branch] / total) for branch in branches}
        self.shares += shares.values()
        branch = min(branches, key=lambda branch: powers[branch])
        # Of two branches the louder may well be all there is; a single one must leave room for its trunk.
        loudest = SHARE_HIGH if len(branches) == 1 else 1.0
        factor = 2.0 ** round(math.log2(0.5 * math.sqrt(powers[1 - branch] / powers[branch])))
        if (shares[branch] >= SHARE_LOW and max(shares.values()) <= loudest) or factor == 1:
            return terms
        if not self.scale(ops[branch], factor, stop=behind[1 - branch]):
            return terms
        if 0 in terms[branch].stride():  # an expanded tensor can't be written
            return tuple(term * factor if index == branch else term for index, term in enumerate(terms))
        # In place, or another sum of the same branch would find it quiet and scale the same parameters again.
        terms[branch].mul_(factor)
        return terms


def _are_alike(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and one.is_floating_point() and other.is_floating_point()


def _power(value: torch.Tensor) -> float:
    return float(value.double().square().mean())


def _ancestors(op: _Op) -> set[_Op]:
    """Find `op` and every activation that it comes from."""
    seen, waiting = {op}, [op]
    while waiting:
        new = {parent for parent in waiting.pop().inputs if parent.live} - seen
        seen |= new
        waiting += new
    return seen


def _parameters_of(op: _Op, seen: set[_Op], depth: int = 0) -> set[nn.Parameter]:
    """Find the last parameters such that multiplying all of them multiplies `op` (nearly) alike."""
    if op.parameter is not None:
        return {op.parameter}
    if op in seen or op.name in _NOT_PROPORTIONAL or depth > MAX_DEPTH:
        return set()
    seen.add(op)
    factors: tuple[_Op, ...] = ()
    terms = op.inputs
    if op.name in _NORMS:
        terms = op.inputs[1:3]
    elif op.name in _BIASES:
        at = _BIASES[op.name]
        factors, terms = op.inputs[:at] + op.inputs[at + 1 :], op.inputs[at : at + 1]
    elif op.name in _PRODUCTS:
        factors, terms = op.inputs, ()
    elif op.name not in _SUMS and op.live:
        terms = tuple(parent for parent in op.inputs if parent.live)
    found = {parameter for term in terms for parameter in _parameters_of(term, seen, depth + 1)}
    # One factor is enough, and a weight is better than what it is multiplied with.
    weights_first = sorted(factors, key=lambda factor: factor.live)
    candidates = (_parameters_of(factor, seen, depth + 1) for factor in weights_first)
    return found | next(filter(None, candidates), set())


def build_alive(build: Callable[[], nn.Module], example: Callable[[nn.Module], Arguments], *, seed: int) -> nn.Module:
    """Build a module with stock random initialisation from `seed` and bring it alive.

    Args:
        build: Makes a fresh module; draws from the global generators of torch, numpy and random only.
        example: Makes float32 or integer arguments of forward, batch 2 (a list of images for detectors).
        seed: The same seed gives the same tensors in every process at any thread count.
    """
    with _reproducible(seed):
        module = build().eval()
        _redraw_silent_weights(module)
        args, kwargs = example(module)
        with _state_kept(module):
            _calibrate(module, (args, kwargs))
    return module


def _calibrate(module: nn.Module, arguments: Arguments) -> None:
    """Run and mend until a pass finds nothing to mend."""
    num_wanted = NUM_BOXES_WANTED
    for index in range(NUM_PASSES):
        # Detectors take a list of images; only they need the logits, which take memory. Their biases must be
        # left alone once _mend_scores has set them.
        is_detector = any(isinstance(argument, list) for argument in arguments[0])
        watch = _Watch(module, keep_logits=is_detector, mend_biases=index == 0)
        outputs = _run_with_own_statistics(module, watch, arguments)
        counts = _num_detections(outputs)
        if counts and not 1 <= min(counts) <= max(counts) <= MAX_BOXES:
            if index > 0:
                num_wanted = num_wanted * 4 if min(counts) == 0 else max(1, num_wanted // 2)
            _mend_scores(watch, outputs, num_wanted * len(counts))
        elif not counts:
            _mend_outputs(watch, outputs)
        if not watch.num_mended:
            break


@contextlib.contextmanager
def _reproducible(seed: int) -> Iterator[None]:
    """Seed every global generator and stay on one thread; both are given back afterwards."""
    num_threads, python_state, numpy_state = torch.get_num_threads(), random.getstate(), np.random.get_state()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            # Not torch.manual_seed, which would seed the accelerators' generators too.
            torch.default_generator.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed % 2**32)
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        torch.set_num_threads(num_threads)


@contextlib.contextmanager
def _state_kept(module: nn.Module) -> Iterator[None]:
    """Undo what running does to attributes and buffers, except to normalisation statistics."""
    kept = [
        (
            child,
            {k: copy.copy(v) if type(v) in (dict, list, set) else v for k, v in vars(child).items()},
            [(v, v.clone()) for k, v in child._buffers.items() if v is not None and "running_" not in k],
        )
        for child in module.modules()
    ]
    try:
        yield
    finally:
        for child, attributes, buffers in kept:
            vars(child).clear()
            vars(child).update(attributes)
            for buffer, value in buffers:
                buffer.data.copy_(value)


def _redraw_silent_weights(module: nn.Module) -> None:
    """Draw weights that are zero or next to it from N(0, 0.02); zero biases are as they should be."""
    for name, parameter in module.named_parameters():
        values = parameter.data
        if "bias" in name.rpartition(".")[2] or not (values.is_floating_point() and values.numel()):
            continue
        if float(values.abs().max()) < TINY:
            values.normal_(0, 0.02)


def _run_with_own_statistics(module: nn.Module, watch: _Watch, arguments: Arguments) -> Any:
    """Run once in float64; each normalisation first takes the statistics of its own input."""
    sums: dict[nn.Module, torch.Tensor] = {}
    handles = [
        child.register_forward_pre_hook(lambda norm, inputs: _take_statistics(norm, inputs[0], sums))
        for child in module.modules()
        if all(isinstance(getattr(child, f"running_{name}", None), torch.Tensor) for name in ("mean", "var"))
    ]
    try:
        args, kwargs = tree_map(_as_input, arguments)
        with watch:
            return run_float64(module, args, kwargs)
    finally:
        for handle in handles:
            handle.remove()


def _as_input(value: Any) -> Any:
    if not isinstance(value, torch.Tensor):
        return value
    value = value.to(torch.float64 if value.is_floating_point() else value.dtype, copy=True)
    value.assay_op = _Op("input", live=True)
    return value


def _take_statistics(norm: Any, value: torch.Tensor, sums: dict[nn.Module, torch.Tensor]) -> None:
    """Set running statistics from all inputs that `norm` has met in this pass.

    This hook runs before run_float64 raises the buffers, so it writes the lasting ones.
    """
    with _disable_current_modes():
        columns = value.double().transpose(0, 1).flatten(1) if value.ndim > 1 else value.double()[:, None]
        counts = torch.full_like(columns[:, 0], columns.shape[1])
        new = torch.stack([counts, columns.sum(1), columns.square().sum(1)])
        count, total, squares = sums[norm] = sums[norm] + new if norm in sums else new
        mean = total / count
        var = squares / count - mean.square()
        # Few samples make some variances tiny by luck, and a channel that is dead here may wake elsewhere.
        floor = var.mean() * min(1.0, max(0.01, 4 / float(count[0])))
        var = torch.maximum(var, floor) if floor > 0 else torch.ones_like(var)
        norm.running_mean.copy_(_rounded(mean))
        norm.running_var.copy_(_rounded(var))


def _rounded(value: torch.Tensor) -> torch.Tensor:
    mantissa, exponent = torch.frexp(value)
    return torch.ldexp((mantissa * 2**16).round(), exponent - 16)


def _mend_outputs(watch: _Watch, outputs: Any) -> None:
    """Bring the scale of each output to about one where it is far off."""
    for output in tree_leaves(outputs):
        if isinstance(output, torch.Tensor) and output.is_floating_point() and output.numel():
            rms = math.sqrt(_power(output))
            if 0 < rms < math.inf and not OUTPUT_LOW <= rms <= OUTPUT_HIGH:
                watch.scale(watch.op_of(output), 2.0 ** -round(math.log2(rms)), stop=set())


def _num_detections(outputs: Any) -> list[int]:
    """Count boxes by image, if this is what a detector returns."""
    images = outputs if isinstance(outputs, list) else []
    found = [image for image in images if isinstance(image, dict) and {"boxes", "scores"} <= set(image)]
    return [len(image["scores"]) for image in found]


def _mend_scores(watch: _Watch, outputs: list[dict[str, torch.Tensor]], num_wanted: int) -> None:
    """Spread the score logits, and shift them so that `num_wanted` candidates are likelier than not."""
    heads: dict[frozenset[nn.Parameter], dict[_Op, torch.Tensor]] = {}
    for op in [op for image in outputs for op in _score_ops(watch.op_of(image["scores"]))]:
        assert op.logits is not None
        heads.setdefault(frozenset(_parameters_of(op.inputs[0], set())), {})[op] = op.logits
    if not heads:
        return
    # Where scores are a product (FCOS: class times centerness) the largest head decides.
    parameters, found = max(heads.items(), key=lambda head: sum(map(torch.numel, head[1].values())))
    num_classes = next(iter(found.values())).shape[-1] if next(iter(found)).name == "_softmax" else 1
    logits = torch.cat([value.reshape(-1, num_classes) for value in found.values()])
    factor = 1.0
    while float(_margins(logits * factor).std()) < SCORE_SPREAD and factor < 2**20:
        factor *= 2
    margins = _margins(logits * factor)
    shift = round(float(margins.topk(min(num_wanted, len(margins))).values[-1]) * 256) / 256
    for parameter in parameters:
        stored = watch.stored[parameter].mul_(factor)
        if stored.ndim == 1 and num_classes > 1:
            stored.view(-1, num_classes)[:, 0] += shift
        elif stored.ndim == 1:
            stored -= shift
    watch.num_mended += 1


def _margins(logits: torch.Tensor) -> torch.Tensor:
    """Give by how much each candidate is likelier than not; class 0 of a softmax is the background."""
    return logits[:, 0] if logits.shape[1] == 1 else logits[:, 1:].logsumexp(1) - logits[:, 0]


def _score_ops(op: _Op) -> list[_Op]:
    """Find the softmax or sigmoid operators that `op` comes from, the last on each way."""
    seen, waiting = {op: None}, [op]
    while waiting:
        here = waiting.pop()
        if here.logits is None:
            new = [parent for parent in here.inputs if parent.live and parent not in seen]
            seen |= dict.fromkeys(new)
            waiting += new
    return [here for here in seen if here.logits is not None]
