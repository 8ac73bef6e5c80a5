"""Take a module out of what wraps it without computing anything: `torch.compile`, DataParallel, DDP."""

import sys
import types

import torch
from torch import nn

from tasks.core.errors import ModelError

_REPLICATING = (nn.DataParallel, nn.parallel.DistributedDataParallel)


def unwrapped(model: nn.Module) -> tuple[nn.Module, tuple[str, ...]]:
    """The module inside a compiled or replicated one, nothing in it compiled; and notes on what was taken away.

    A replicated part of it stays, so that weights find its keys (`without_replicas`). A ModelError if a wrapper has
    hooks, which would be lost.
    """
    wrappers = []
    while (inner := _inside(model, replicas=True)) is not None:
        wrappers.append(_name(model))
        model = inner
    notes = [f"the module inside {' and '.join(wrappers)} was taken"] if wrappers else []
    parts = _replace_parts(model, replicas=False) + [path for path, part in model.named_modules() if _compiled(part)]
    for part in model.modules():
        _uncompile(part)
    if parts:
        notes.append(f"torch.compile was taken away from {', '.join(path or 'the module' for path in parts)}")
    return model, tuple(notes)


def without_replicas(model: nn.Module) -> tuple[str, ...]:
    """Put the module inside each part that is a DataParallel or DDP into its place; notes on it."""
    parts = _replace_parts(model, replicas=True)
    return (f"the module inside the parallel one was taken at {', '.join(parts)}",) if parts else ()


def _replace_parts(model: nn.Module, *, replicas: bool) -> list[str]:
    """Put the module inside each wrapper into the wrapper's place; the paths of these."""
    paths = []
    for path, parent in list(model.named_modules()):
        if isinstance(parent, torch.jit.ScriptModule):
            continue
        for name, child in list(parent._modules.items()):
            part = child
            while part is not None and (inner := _inside(part, replicas=replicas)) is not None:
                part = inner
            if part is not child:
                parent._modules[name] = part
                paths.append(f"{path}.{name}".removeprefix("."))
    return paths


def _inside(model: nn.Module, *, replicas: bool) -> nn.Module | None:
    """The module that a wrapper wraps; None: this one is no wrapper, or a replicated one that may stay."""
    is_replica = isinstance(model, _REPLICATING)
    if not (replicas and _only_replicates(model) if is_replica else _is_compiled(model)):
        return None
    if model._forward_hooks or model._forward_pre_hooks:
        raise ModelError(
            f"{_name(model)} has hooks of its own, which the module inside it lacks; register them on that one."
        )
    inner: nn.Module = model._modules["module" if is_replica else "_orig_mod"]  # type: ignore[assignment]
    return inner


def _only_replicates(model: nn.Module) -> bool:
    """Does it compute what the module inside does? A subclass may do more."""
    forward = getattr(model.forward, "__func__", None)
    return type(model).__call__ is nn.Module.__call__ and forward in {kind.forward for kind in _REPLICATING}


def _is_compiled(model: nn.Module) -> bool:
    """Did `torch.compile` make it? A user's own module may have a part called `_orig_mod`."""
    maker = sys.modules.get("torch._dynamo.eval_frame")
    return maker is not None and isinstance(model, maker.OptimizedModule)


def _name(model: nn.Module) -> str:
    return type(model).__name__ if isinstance(model, _REPLICATING) else "torch.compile"


def _compiled(module: nn.Module) -> bool:
    """Was the module compiled in place, or its forward?"""
    forward = vars(module).get("forward", getattr(type(module), "forward", None))
    return getattr(module, "_compiled_call_impl", None) is not None or hasattr(forward, "_torchdynamo_orig_callable")


def _uncompile(module: nn.Module) -> None:
    if not _compiled(module):
        return
    module._compiled_call_impl = None
    written = getattr(module.forward, "_torchdynamo_orig_callable", None)
    if written is not None:  # what stands in the class, not in the module, takes the module first
        module.forward = written if "forward" in vars(module) else types.MethodType(written, module)
