"""Run a module in float32, in float64, or in float32 with its weights perturbed by one rounding error.

`copy.deepcopy(model).double()` is no sound float64 reference: deepcopy raises on modules that keep non-leaf tensors or
weight norm, and `.double()` is undone wherever forward casts. Here the module itself runs: each submodule's own tensors
are cast to float64 while that submodule is running, and a dispatch mode casts every other float32 tensor and dtype
argument of an operator; half precision, too. At most the tensors of the modules now on the call stack exist twice.
"""

import contextlib
import functools
import zlib
from collections.abc import Callable, Collection, Iterator
from typing import Any
from unittest.mock import patch

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map, tree_map_only

from tasks.core.arrays import eps_of
from tasks.core.errors import is_out_of_memory, is_own_fault
from tasks.core.forward.float_attributes import FloatAttributes
from tasks.core.forward.hooks import hookable_modules
from tasks.core.forward.operator_mode import OperatorMode, is_mutable
from tasks.core.forward.other_kernels import OtherKernels
from tasks.core.forward.switches import operator_by_operator, same_way, uncompiled

_SIGN_PERIOD = 8191
"""Signs repeat after a prime number of weights, so that rows of a matrix get different ones."""
_RAISED = (torch.float32, torch.float16, torch.bfloat16)
"""Dtypes that the float64 run computes in float64."""
_MOVED = (*_RAISED, torch.float64)
"""Dtypes of the tensors that one rounding moves."""

Args = tuple[Any, ...]
Kwargs = dict[str, Any]
_Own = tuple[str, torch.Tensor, torch.Tensor]
"""Full name, a tensor that a module owns, and the data that it has outside the context."""
_PLAIN_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
"""Layers that call no other layer and never return a view of their weights."""


class _RaiseToFloat64(OperatorMode):
    """Cast what every operator takes to float64; of one that refuses, as custom ones do, what it gives in float32."""

    def __init__(self, rounded: set[str]) -> None:
        super().__init__()
        self._rounded = rounded

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: PLR0917
        try:
            return self.call(func, tree_map(_raised, args), tree_map(_raised, kwargs))
        except Exception as error:  # a custom operator may raise anything
            has_schema = isinstance(func, torch._ops.OpOverload)
            if not has_schema or is_mutable(func) or is_out_of_memory(error) or is_own_fault(error):
                raise
            answer = func(*tree_map(_lowered, args), **tree_map(_lowered, kwargs or {}))
            self._rounded.add(str(func))
            return tree_map(_raised, answer)


def _cast(value: Any, sources: Collection[torch.dtype], target: torch.dtype) -> Any:
    """Cast a tensor of a source dtype, or replace that dtype itself; anything else stays."""
    if isinstance(value, torch.Tensor):
        return value.to(target) if value.dtype in sources else value
    return target if isinstance(value, torch.dtype) and value in sources else value


_raised = functools.partial(_cast, sources=_RAISED, target=torch.float64)
_lowered = functools.partial(_cast, sources=(torch.float64,), target=torch.float32)


def run_float32(model: nn.Module, args: Args, kwargs: Kwargs) -> Any:
    """Call a module without gradients, the way that every other run takes.

    Args:
        model: any module.
        args: of forward.
        kwargs: of forward.
    """
    with same_way(), uncompiled(), torch.no_grad():
        return model(*args, **kwargs)


def run_as_it_is(model: nn.Module, args: Args, kwargs: Kwargs) -> Any:
    """Call a module as its user does, with the kernels that PyTorch chooses; no other run is like it.

    Args:
        model: any module.
        args: of forward.
        kwargs: of forward.
    """
    with uncompiled(), torch.no_grad():
        return model(*args, **kwargs)


class Scratch:
    """A buffer for the weights of one layer after another: AlexNet takes 1.1 s without it, 0.4 s with it."""

    def __init__(self) -> None:
        self._buffer = torch.empty(0, dtype=torch.float64)

    def like(self, tensors: list[torch.Tensor], dtype: torch.dtype | None = None) -> list[torch.Tensor]:
        """Views of the buffer with these shapes; they replace those of the call before.

        Args:
            tensors: of equal dtypes.
            dtype: of the views; None: that of the tensors.
        """
        dtype = dtype or tensors[0].dtype
        sizes = [tensor.numel() for tensor in tensors]
        num_doubles = -(-sum(sizes) * dtype.itemsize // self._buffer.itemsize)
        if num_doubles > self._buffer.numel():
            self._buffer = torch.empty(0, dtype=torch.float64)  # free the old one first
            self._buffer = torch.empty(num_doubles, dtype=torch.float64)
        pieces = self._buffer.view(dtype)[: sum(sizes)].split(sizes)
        return [piece.view(tensor.shape) for piece, tensor in zip(pieces, tensors, strict=True)]


def run_float64(
    model: nn.Module, args: Args, kwargs: Kwargs, *, scratch: Scratch | None = None, rounded: set[str] | None = None
) -> Any:
    """Call a module with inputs, weights, constants and intermediate values cast to float64, from half precision, too.

    Args:
        model: any module.
        args: of forward.
        kwargs: of forward.
        scratch: buffer to use again.
        rounded: the names of operators that refused float64 and ran in float32 are added to it.
    """
    scratch = scratch or Scratch()
    rounded = set() if rounded is None else rounded

    def raised(module: nn.Module, own: list[_Own]) -> list[torch.Tensor]:
        originals = [data for _, _, data in own]
        if type(module) not in _PLAIN_LAYERS:
            return [data.double() for data in originals]
        copies = scratch.like(originals, torch.float64)
        for copy, data in zip(copies, originals, strict=True):
            copy.copy_(data)
        return copies

    previous_dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with _leafwise(model, raised), _RaiseToFloat64(rounded), _own_limits(model, args, kwargs):
            return run_float32(model, tree_map(_raised, args), tree_map(_raised, kwargs))
    finally:
        torch.set_default_dtype(previous_dtype)


@contextlib.contextmanager
def _own_limits(model: nn.Module, args: Args, kwargs: Kwargs) -> Iterator[None]:
    """Within this context `torch.finfo` gives the limits of the module's own dtype where it is asked for float64's.

    A mask of the least number, or a logarithm of the smallest one, is another number in float64.
    """
    tensors = [t for t in (*model.parameters(), *model.buffers()) if t.is_floating_point()]
    tensors = tensors or [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
    own = max((t.dtype for t in tensors if t.dtype in _MOVED), key=eps_of, default=torch.float32)
    finfo = torch.finfo

    def own_finfo(dtype: torch.dtype = torch.float64) -> torch.finfo:
        return finfo(own if dtype == torch.float64 else dtype)

    with patch.object(torch, "finfo", own_finfo):
        yield


def run_perturbed(
    model: nn.Module,
    args: Args,
    kwargs: Kwargs,
    *,
    seed: int,
    move_inputs: bool = False,
    num_roundings: float = 1.0,
    scratch: Scratch | None = None,
) -> Any:
    """Call a module as another implementation might: weights off by roundings of their dtype, other kernels.

    Each weight w becomes w +- w * eps / 2; eps / 2 is the largest relative error of one rounding, and the dtype
    represents the result as the next number.

    Args:
        model: any module.
        args: of forward.
        kwargs: of forward.
        seed: of the signs, and of the choice of kernels.
        move_inputs: perturb the inputs, too.
        num_roundings: by which weights, and inputs, are off.
        scratch: buffer to use again.
    """
    scratch = scratch or Scratch()
    off = functools.partial(_off_by_half_eps, num_roundings=num_roundings)

    def moved_input(value: torch.Tensor) -> torch.Tensor:
        return off(value, f"{seed}/input", torch.empty_like(value)) if value.dtype in _MOVED else value

    def moved(module: nn.Module, own: list[_Own]) -> list[torch.Tensor]:
        originals = [data for _, _, data in own]
        is_plain = type(module) in _PLAIN_LAYERS and len({data.dtype for data in originals}) == 1
        outs = scratch.like(originals) if is_plain else [torch.empty_like(data) for data in originals]
        return [off(data, f"{seed}/{name}", out) for (name, _, data), out in zip(own, outs, strict=True)]

    if move_inputs:
        args, kwargs = tree_map_only(torch.Tensor, moved_input, (args, kwargs))
    is_double = any(t.dtype == torch.float64 for t in (*model.parameters(), *model.buffers()))
    attributes = FloatAttributes() if is_double else contextlib.nullcontext()
    # softmax and products, or gates, as files have them; or PyTorch's fused kernels, which add up in another order
    has_lstm = any(isinstance(module, nn.LSTM) for module in model.modules())
    unfused = operator_by_operator() if has_lstm else sdpa_kernel(SDPBackend.MATH)
    with _leafwise(model, moved, _MOVED), OtherKernels(seed), attributes, unfused if seed % 2 else same_way():
        return run_float32(model, args, kwargs)


def _off_by_half_eps(tensor: torch.Tensor, seed: str, out: torch.Tensor, *, num_roundings: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(zlib.crc32(seed.encode()))
    with torch._C._DisableFuncTorch():  # torch.vmap refuses random numbers
        signs = torch.randint(0, 2, (_SIGN_PERIOD,), generator=generator).to(tensor.dtype) * 2 - 1
    out = out if out.is_contiguous() else torch.empty(out.shape, dtype=out.dtype)
    flat, moved = tensor.reshape(-1), out.view(-1)
    num_whole = flat.numel() // _SIGN_PERIOD * _SIGN_PERIOD
    whole, rest = flat[:num_whole].view(-1, _SIGN_PERIOD), flat[num_whole:]
    half = num_roundings * eps_of(tensor.dtype) / 2
    torch.addcmul(whole, whole, signs, value=half, out=moved[:num_whole].view(-1, _SIGN_PERIOD))
    torch.addcmul(rest, rest, signs[: rest.numel()], value=half, out=moved[num_whole:])
    return out


@contextlib.contextmanager
def _leafwise(
    model: nn.Module,
    transform: Callable[[nn.Module, list[_Own]], list[torch.Tensor]],
    dtypes: Collection[torch.dtype] = _RAISED,
) -> Iterator[None]:
    """Within this context each submodule's own tensors of these dtypes have transformed data while it runs.

    Those of a ScriptModule have them throughout.
    """
    own: dict[nn.Module, list[_Own]] = {
        module: [
            (f"{prefix}.{name}", tensor, tensor.data)
            for name, tensor in {**module._parameters, **module._buffers}.items()
            if tensor is not None and tensor.dtype in dtypes
        ]
        for prefix, module in model.named_modules()
    }

    def swap_in(module: nn.Module, _args: Any) -> None:
        with _disable_current_modes():
            for (_, tensor, _), swapped in zip(own[module], transform(module, own[module]), strict=True):
                tensor.data = swapped

    def swap_out(module: nn.Module, _args: Any, _output: Any) -> None:
        for _, tensor, data in own[module]:
            tensor.data = data

    with contextlib.ExitStack() as stack:
        hookable = {module for _, module in hookable_modules(model)}
        for module in (module for module, tensors in own.items() if tensors):
            stack.callback(swap_out, module, None, None)
            if module not in hookable:
                swap_in(module, None)
                continue
            stack.callback(module.register_forward_pre_hook(swap_in).remove)
            stack.callback(module.register_forward_hook(swap_out, always_call=True).remove)
        yield
