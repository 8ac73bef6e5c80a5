"""Run a module in float32, in float64, or with its weights moved by one rounding error.

`copy.deepcopy(model).double()` is no sound float64 twin: deepcopy raises on modules that keep
non-leaf tensors or weight norm, and `.double()` is undone wherever forward casts. Here the module
itself runs: each submodule's own tensors are raised while that submodule is running, and a dispatch
mode raises every other float32 tensor and dtype argument that an operator meets. At most the
tensors of the modules now on the call stack exist twice.
"""

import contextlib
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

EPS32 = float(torch.finfo(torch.float32).eps)
"""Spacing of float32 at 1.0, 2**-23."""

_SIGN_PERIOD = 8191
"""Signs repeat after a prime number of weights, so that no row meets the same ones."""

Arguments = tuple[Any, ...]
Keywords = dict[str, Any]
Transform = Callable[[str, torch.Tensor], torch.Tensor]


class _RaiseToFloat64(TorchDispatchMode):
    """Replace every float32 tensor and dtype argument of every operator by float64."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*tree_map(_raised, args), **tree_map(_raised, kwargs or {}))


class _OtherSigmoid(TorchDispatchMode):
    """Compute sigmoid by the other textbook formula, whose error is eps32 of 1 rather than of the value.

    ONNX Runtime's kernel is of that kind: on deepCR's real weights its error is 4e-9 (rms) at outputs of
    2e-6, where PyTorch's is 2e-12. Both are float32; noise that knew only the latter would fail the file.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.sigmoid.default:
            return 1 - 1 / (1 + torch.exp(args[0]))
        if func is torch.ops.aten.sigmoid_.default:
            return args[0].copy_(1 - 1 / (1 + torch.exp(args[0])))
        return func(*args, **(kwargs or {}))


def _raised(value: Any) -> Any:
    if isinstance(value, torch.Tensor) and value.dtype == torch.float32:
        return value.double()
    if value is torch.float32:
        return torch.float64
    return value


def run_float32(model: nn.Module, args: Arguments, kwargs: Keywords) -> Any:
    """Call `model` as it is, without gradients."""
    with torch.no_grad():
        return model(*args, **kwargs)


def run_float64(model: nn.Module, args: Arguments, kwargs: Keywords) -> Any:
    """Call `model` with float32 inputs, weights, constants and intermediate values raised to float64."""
    previous_dtype = torch.get_default_dtype()
    previous_fastpath = torch.backends.mha.get_fastpath_enabled()
    torch.set_default_dtype(torch.float64)
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with _leafwise(model, lambda _, tensor: tensor.double()), _RaiseToFloat64():
            return run_float32(model, tree_map(_raised, args), tree_map(_raised, kwargs))
    finally:
        torch.set_default_dtype(previous_dtype)
        torch.backends.mha.set_fastpath_enabled(previous_fastpath)


def run_perturbed(model: nn.Module, args: Arguments, kwargs: Keywords, *, seed: int) -> Any:
    """Call `model` as another float32 implementation might: weights off by one rounding, another sigmoid.

    Each weight w is moved to float32(w +- w * eps32 / 2), signs drawn from `seed`; eps32 / 2 is the
    largest relative error of one rounding, and float32 represents the result as the next number.
    """

    def off_by_half_eps(name: str, tensor: torch.Tensor) -> torch.Tensor:
        generator = torch.Generator().manual_seed(zlib.crc32(f"{seed}/{name}".encode()))
        signs = torch.randint(0, 2, (_SIGN_PERIOD,), generator=generator).float() * 2 - 1
        flat = tensor.reshape(-1)
        num_whole = flat.numel() // _SIGN_PERIOD * _SIGN_PERIOD
        moved = torch.empty_like(flat)
        whole, rest = flat[:num_whole].view(-1, _SIGN_PERIOD), flat[num_whole:]
        torch.addcmul(whole, whole, signs, value=EPS32 / 2, out=moved[:num_whole].view(-1, _SIGN_PERIOD))
        torch.addcmul(rest, rest, signs[: rest.numel()], value=EPS32 / 2, out=moved[num_whole:])
        return moved.view(tensor.shape)

    with _leafwise(model, off_by_half_eps), _OtherSigmoid():
        return run_float32(model, args, kwargs)


@contextlib.contextmanager
def _leafwise(model: nn.Module, transform: Transform) -> Iterator[None]:
    """Swap the data of each submodule's own float32 tensors while that submodule runs."""
    own = {
        module: [
            (f"{prefix}.{name}", tensor, tensor.data)
            for name, tensor in {**module._parameters, **module._buffers}.items()
            if tensor is not None and tensor.dtype == torch.float32
        ]
        for prefix, module in model.named_modules()
    }

    def swap_in(module: nn.Module, _args: Any) -> None:
        for name, tensor, data in own[module]:
            tensor.data = transform(name, data)

    def swap_out(module: nn.Module, _args: Any, _output: Any) -> None:
        for _, tensor, data in own[module]:
            tensor.data = data

    handles = [
        handle
        for module, tensors in own.items()
        if tensors
        for handle in (
            module.register_forward_pre_hook(swap_in),
            module.register_forward_hook(swap_out, always_call=True),
        )
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        for module in own:
            swap_out(module, None, None)
