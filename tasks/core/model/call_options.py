"""How forward is called: arguments that are no tensors, and which of its outputs are kept."""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from tasks.core.errors import SpecError
from tasks.core.families.registry import family_of
from tasks.core.forward.arguments import forward_parameters
from tasks.core.forward.outputs import flatten
from tasks.core.spec.export_spec import ResolvedSpec


def set_call_options(model: nn.Module, spec: ResolvedSpec) -> None:
    """Have each call of the module pass `forward_kwargs`, and give the outputs asked for where those are a choice.

    Args:
        model: gets another forward, and a hook.
        spec: what was asked for.

    Raises:
        SpecError: forward has no such parameter.
    """
    if spec.forward_kwargs:
        parameters = forward_parameters(model)
        if unknown := [name for name in spec.forward_kwargs if name not in parameters]:
            known = ", ".join(parameters) or "none"
            raise SpecError(f"--forward-kwargs has {unknown[0]}, which is no parameter of forward; it has {known}.")
        signature = inspect.signature(model.forward)
        free = [parameter for name, parameter in signature.parameters.items() if name not in spec.forward_kwargs]
        forward: Any = functools.partial(model.forward, **spec.forward_kwargs)
        forward.__signature__ = signature.replace(parameters=free)  # else exporters give what is fixed by position, too
        model.forward = forward
    if spec.outputs:
        model.register_forward_hook(functools.partial(_chosen, spec.outputs))
    elif (family := family_of(spec.model)).chooses_outputs:
        model.register_forward_hook(functools.partial(_kept, functools.partial(family.kept_outputs, spec.model)))


def _chosen(names: tuple[str, ...], _model: nn.Module, _args: Any, output: Any) -> Any:
    """Those outputs, in their order, if each name is one of the module's own; else all, which get the names later."""
    found = dict(flatten(output))
    return {name: found[name] for name in names} if found.keys() >= set(names) else output


def _kept(choose: Callable[[Sequence[str]], tuple[str, ...]], _model: nn.Module, _args: Any, output: Any) -> Any:
    """Those outputs that the model's family is for."""
    found = dict(flatten(output))
    return {name: found[name] for name in choose(tuple(found))}
