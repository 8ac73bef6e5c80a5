"""Random weights that exercise every block of a model, so that each shows in its outputs ("alive").

Stock initialisation often silences blocks (zero heads, layer scales of 1e-6). Here the module runs a few times in
float64 on its example, and what is too small or too large is rescaled at the parameters that it is proportional to.
Every factor is a power of two and every statistic keeps 16 bits: float64 sums may differ in their last bit with the
alignment of memory, and that must not reach the tensors.
"""

import contextlib
import math
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map

from tasks.core.errors import ModelError, refusal_of
from tasks.core.forward.arguments import Arguments
from tasks.core.forward.hooks import hookable_modules
from tasks.core.forward.loaded_state import LoadedAttributes
from tasks.core.forward.precision import run_float64
from tasks.core.model.activation_origins import Op, OriginRecorder, mean_square
from tasks.core.model.score_heads import NUM_CANDIDATES, calibrate_scores, next_num_candidates, num_detections

_NUM_PASSES = 4
"""Forward passes at most; classifiers need one or two, detectors two or three."""
_TINY = 1e-3
"""Weights all below this are redrawn: stock draws reach further, layer scales start at 1e-6 to 1e-4."""
_OUTPUT_LOW, _OUTPUT_HIGH = 0.05, 20.0
"""Root mean square of an output, in its own unit, outside of which it is rescaled."""


def build_with_random_weights(
    build: Callable[[], nn.Module], example: Callable[[nn.Module], Arguments], *, seed: int
) -> nn.Module:
    """Build a module with stock random initialisation, and adjust its weights so that every block is exercised.

    Args:
        build: Makes a fresh module; draws from the global generators of torch, numpy and random only.
        example: Makes float32 or integer arguments of forward, batch 2 (a list of images for detectors).
        seed: The same seed gives the same tensors in every process at any thread count.
    """
    with _reproducible(seed):
        module = build().eval()
        _redraw_zero_weights(module)
        args, kwargs = example(module)
        with _state_kept(module):
            _calibrate(module, (args, kwargs))
    return module


def _calibrate(module: nn.Module, arguments: Arguments) -> None:
    num_candidates = NUM_CANDIDATES
    for index in range(_NUM_PASSES):
        # Detectors take a list of images; only they need the logits, which take memory. Their biases must be
        # left alone once calibrate_scores has set them.
        is_detector = any(isinstance(argument, list) for argument in (*arguments[0], *arguments[1].values()))
        recorder = OriginRecorder(module, keep_logits=is_detector, raise_products=index == 0)
        outputs = _run_with_own_statistics(module, recorder, arguments)
        counts = num_detections(outputs)
        if not counts:
            _rescale_outputs(recorder, outputs)
        elif wanted := (NUM_CANDIDATES if index == 0 else next_num_candidates(counts, num_candidates)):
            num_candidates = wanted
            calibrate_scores(recorder, outputs, num_candidates)
        if not recorder.num_rescaled:
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
    attributes = LoadedAttributes(module)
    lasting = (value for name, value in module.named_buffers() if "running_" not in name.rpartition(".")[2])
    buffers = [(value, value.clone()) for value in lasting]
    try:
        yield
    finally:
        attributes.restore()
        for buffer, value in buffers:
            buffer.data.copy_(value)


def _redraw_zero_weights(module: nn.Module) -> None:
    """Draw weights again that are zero or next to it from N(0, 0.02); zero biases are as they should be."""
    for name, parameter in module.named_parameters():
        values = parameter.data
        if "bias" in name.rpartition(".")[2] or not (values.is_floating_point() and values.numel()):
            continue
        if float(values.abs().max()) < _TINY:
            values.normal_(0, 0.02)


def _run_with_own_statistics(module: nn.Module, recorder: OriginRecorder, arguments: Arguments) -> Any:
    """Run in float64; each normalisation first takes the statistics of its own input."""
    sums: dict[nn.Module, torch.Tensor] = {}
    handles = [
        child.register_forward_pre_hook(lambda norm, inputs: _take_statistics(norm, inputs[0], sums))
        for _, child in hookable_modules(module)
        if all(isinstance(getattr(child, f"running_{name}", None), torch.Tensor) for name in ("mean", "var"))
    ]
    try:
        args, kwargs = tree_map(_as_input, arguments)
        with recorder:
            return run_float64(module, args, kwargs)
    except Exception as error:  # the user's forward may raise anything
        where = "the traced sizes (random weights are scaled by a run)"
        raise ModelError(
            f"{type(module).__name__} raised at {where}: {refusal_of(error, module, where=where)}; correct --input."
        ) from error
    finally:
        for handle in handles:
            handle.remove()


def _as_input(value: Any) -> Any:
    if not isinstance(value, torch.Tensor):
        return value
    value = value.to(torch.float64 if value.is_floating_point() else value.dtype, copy=True)
    value.assay_op = Op("input", depends_on_input=True)
    return value


def _take_statistics(norm: Any, value: torch.Tensor, sums: dict[nn.Module, torch.Tensor]) -> None:
    """Set running statistics from all inputs that `norm` has met in this pass.

    This hook runs before run_float64 raises the buffers, so it writes the lasting ones. An input may be empty, as
    that of a mask head where no box was found yet.
    """
    if not value.numel():
        return
    with _disable_current_modes():
        columns = value.double().transpose(0, 1).flatten(1) if value.ndim > 1 else value.double()[:, None]
        counts = torch.full_like(columns[:, 0], columns.shape[1])
        new = torch.stack([counts, columns.sum(1), columns.square().sum(1)])
        count, total, squares = sums[norm] = sums[norm] + new if norm in sums else new
        mean = total / count
        var = squares / count - mean.square()
        # Few samples make some variances tiny by luck, and a channel that is zero here may be used elsewhere.
        floor = var.mean() * min(1.0, max(0.01, 4 / float(count[0])))
        var = torch.maximum(var, floor) if floor > 0 else torch.ones_like(var)
        norm.running_mean.copy_(_rounded(mean))
        norm.running_var.copy_(_rounded(var))


def _rounded(value: torch.Tensor) -> torch.Tensor:
    mantissa, exponent = torch.frexp(value)
    return torch.ldexp((mantissa * 2**16).round(), exponent - 16)


def _rescale_outputs(recorder: OriginRecorder, outputs: Any) -> None:
    """Bring the scale of each output to about one where it is far off."""
    for output in tree_leaves(outputs):
        if isinstance(output, torch.Tensor) and output.is_floating_point() and output.numel():
            rms = math.sqrt(mean_square(output))
            if 0 < rms < math.inf and not _OUTPUT_LOW <= rms <= _OUTPUT_HIGH:
                recorder.scale(recorder.op_of(output), 2.0 ** -round(math.log2(rms)), stop=set())
