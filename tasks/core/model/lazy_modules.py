"""Give parameters that have no shape before the first call their shapes and values, as that call would."""

import copy
import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import UninitializedBuffer

from tasks.core.errors import ModelError, refusal_of
from tasks.core.forward.arguments import Arguments
from tasks.core.forward.precision import run_float32


def settle_lazy_modules(model: nn.Module, example: Callable[[nn.Module], Arguments]) -> None:
    """Draw the parameters of lazy modules in the order of a call, which a copy makes: nothing else of it stays.

    Args:
        model: in eval mode, changed in place; most have no lazy module.
        example: makes arguments of forward; only called where there is one.

    Raises:
        ModelError: the copy can't be made or called, or the call does not reach every lazy module.
    """
    lazy: dict[str, Any] = {
        path: part
        for path, part in model.named_modules()
        if isinstance(part, LazyModuleMixin) and part.has_uninitialized_params()  # type: ignore[misc]
    }
    if not lazy:
        return
    args, kwargs = example(model)
    calls: dict[str, tuple[Any, Any]] = {}
    name, parts = type(model).__name__, ", ".join(path or "the module" for path in lazy)
    try:
        trial = _copied(model)
        for path, part in trial.named_modules():
            if path in lazy:
                note = functools.partial(_note, calls, path)
                part.register_forward_pre_hook(note, prepend=True, with_kwargs=True)
        with torch.random.fork_rng(devices=[]):
            run_float32(trial, args, kwargs)
    except Exception as error:  # the user's forward may raise anything; it becomes one sentence
        raise ModelError(
            f"{parts} of {name} have no shape before the first call, and a call of a copy fails: "
            f"{refusal_of(error, model, where='the sizes to trace at')}; correct the inputs (--input), or call the "
            f"module once where it is built."
        ) from error
    if unreached := [path for path in lazy if path not in calls]:
        raise ModelError(
            f"{', '.join(unreached)} of {name} have no shape before the first call, which does not reach them; "
            f"remove them, or give them their sizes where the module is built."
        )
    for path, (args, kwargs) in calls.items():
        lazy[path]._infer_parameters(lazy[path], args, kwargs)


def _copied(model: nn.Module) -> nn.Module:
    """A deep copy; PyTorch itself copies lazy parameters, but no lazy buffers."""
    buffers = [buffer for buffer in model.buffers() if isinstance(buffer, UninitializedBuffer)]
    fresh = {id(b): UninitializedBuffer(device=b.device, dtype=b.dtype) for b in buffers}  # type: ignore[call-arg]
    return copy.deepcopy(model, fresh)


def _note(calls: dict[str, tuple[Any, Any]], path: str, _module: nn.Module, *arguments: Any) -> None:
    calls.setdefault(path, arguments)  # args and kwargs
