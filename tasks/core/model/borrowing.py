"""A live module is the user's own: it is given back as it was. Needs no PyTorch where the model is text."""

import contextlib
from collections.abc import Iterator
from typing import Any

from tasks.core.spec.export_spec import ExportSpec

_COMPILED = ("forward", "_compiled_call_impl")
"""Attributes of a module that `torch.compile`, or an export, replaces."""


@contextlib.contextmanager
def borrowed(spec: ExportSpec) -> Iterator[None]:
    """Within this context a live module may be changed; then it has its modes, tensors and wrapped parts again."""
    model = spec.model
    modules: list[Any] = [] if isinstance(model, str) else list(model.modules())
    modes = [getattr(module, "training", None) for module in modules]  # torch.jit.freeze takes it away
    compiled = [{name: vars(module)[name] for name in _COMPILED if name in vars(module)} for module in modules]
    hooks = dict(modules[0]._forward_hooks) if modules else {}
    parts = [dict(module._modules) if isinstance(module._modules, dict) else {} for module in modules]
    state = {} if not modules or spec.weights in (None, "as-built") else model.state_dict()
    kept = {key: value.detach().clone() for key, value in state.items() if _has_values(value)}
    try:
        yield
    finally:
        for module, mode, attributes, children in zip(modules, modes, compiled, parts, strict=True):
            if mode is None:
                vars(module).pop("training", None)
            else:
                module.training = mode
            for name in _COMPILED:
                vars(module).pop(name, None)
            vars(module).update(attributes)
            if children:
                module._modules.update(children)
        for key in [key for key in (modules[0]._forward_hooks if modules else ()) if key not in hooks]:
            del modules[0]._forward_hooks[key]
        own = model.state_dict(keep_vars=True) if kept else {}
        for key, value in kept.items():
            own[key].data.copy_(value)


def _has_values(value: Any) -> bool:
    """Is it a tensor that has a shape already?"""
    return hasattr(value, "detach") and not type(value).__name__.startswith("Uninitialized")
