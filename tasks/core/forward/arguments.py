"""How forward takes its inputs: by keyword or position, alone or inside lists, tuples and dicts."""

import contextlib
import inspect
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tasks.core.errors import SpecError

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL)
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
Arguments = tuple[tuple[Any, ...], dict[str, Any]]
"""Args and kwargs of forward."""


@dataclass(frozen=True)
class ArgumentPath:
    """Path to one input within the arguments of forward."""

    argument: int | str
    """Position or keyword of the argument."""
    keys: tuple[int | str, ...] = ()
    """Path inside the argument: indices of lists and tuples, keys of dicts."""
    annotation: Any = None
    """Forward's annotation of the argument, which tells a tuple from a list."""


def forward_signature(model: nn.Module) -> inspect.Signature:
    """Forward's signature; of a ScriptModule, as its schema has it."""
    if not isinstance(model, torch.jit.ScriptModule):
        return inspect.signature(model.forward)
    return inspect.Signature(
        [
            inspect.Parameter(
                argument.name,
                inspect.Parameter.KEYWORD_ONLY if argument.kwarg_only else inspect.Parameter.POSITIONAL_OR_KEYWORD,
                default=argument.default_value if argument.has_default_value() else inspect.Parameter.empty,
            )
            for argument in model.forward.schema.arguments[1:]  # type: ignore[attr-defined]
        ]
    )


def forward_parameters(model: nn.Module) -> list[str]:
    """Names of forward's parameters, in order."""
    return [name for name, p in forward_signature(model).parameters.items() if p.kind in _NAMED]


def argument_paths(names: Sequence[str], model: nn.Module) -> tuple[ArgumentPath, ...]:
    """Read names of inputs as paths: `image` is an argument, `images.0` and `batch.pixels` lie inside one.

    If every name begins with a parameter of forward, that parameter takes it, by keyword where it can be;
    otherwise all are passed by position, one argument a name.

    Args:
        names: one an input.
        model: whose forward takes them.

    Raises:
        SpecError: names contradict each other, or leave a gap in a list.
    """
    parameters = forward_signature(model).parameters
    split = [name.split(".") for name in names]
    if not all(words[0] in parameters and _fits(words, parameters[words[0]]) for words in split):
        return tuple(ArgumentPath(index) for index in range(len(names)))
    annotations: dict[str, Any] = {}
    with contextlib.suppress(Exception):  # a name in an annotation may exist for type checkers only
        annotations = typing.get_type_hints(model.forward)
    order = list(parameters)
    by_position = any(parameters[first].kind in _POSITIONAL for first, *_ in split)
    paths = []
    for first, *rest in split:
        kind, keys = parameters[first].kind, tuple(int(key) if key.isdigit() else key for key in rest)
        argument: int | str = first
        if kind is inspect.Parameter.VAR_POSITIONAL:
            argument, keys = order.index(first) + int(keys[0]), keys[1:]
        elif kind is inspect.Parameter.VAR_KEYWORD:
            argument, keys = str(keys[0]), keys[1:]
        elif by_position and kind is not inspect.Parameter.KEYWORD_ONLY:
            argument = order.index(first)
        paths.append(ArgumentPath(argument, keys, annotations.get(first)))
    _check(names, paths)
    return tuple(paths)


def renamed(names: Sequence[str], paths: Sequence[ArgumentPath], model: nn.Module) -> tuple[str, ...]:
    """A sentence for each input that is passed as another parameter, though some input has a parameter's name.

    Args:
        names: of the inputs.
        paths: of them.
        model: whose forward takes them.
    """
    parameters: dict[int | str, str] = dict(enumerate(forward_parameters(model)))
    if not {*names} & {*parameters.values()}:
        return ()
    taken = ((name, parameters.get(p.argument, name)) for name, p in zip(names, paths, strict=True) if not p.keys)
    return tuple(
        f"{name} is passed to forward as {parameter}, by position, as not every input has the name of a parameter"
        for name, parameter in taken
        if name != parameter
    )


def forward_order(paths: Sequence[ArgumentPath], model: nn.Module) -> list[int]:
    """Indices that sort inputs by forward's signature, as exporters do; those inside one argument stay as given.

    Args:
        paths: of the inputs.
        model: whose forward takes them.
    """
    order = {name: index for index, name in enumerate(forward_signature(model).parameters)}
    ranks = [p.argument if isinstance(p.argument, int) else order.get(p.argument, len(order)) for p in paths]
    return sorted(range(len(paths)), key=lambda index: ranks[index])


def build_arguments(paths: Sequence[ArgumentPath], tensors: Sequence[torch.Tensor]) -> Arguments:
    """Build args and kwargs of forward.

    Args:
        paths: of the inputs.
        tensors: one a path.
    """
    arguments: dict[int | str, Any] = {}
    for path, tensor in zip(paths, tensors, strict=True):
        tree, last = arguments, path.argument
        for key in path.keys:
            tree, last = tree.setdefault(last, {}), key
        tree[last] = tensor
    annotations = {path.argument: path.annotation for path in paths}
    built = {argument: _built(value, annotations[argument]) for argument, value in arguments.items()}
    args = tuple(built[key] for key in sorted(key for key in built if isinstance(key, int)))
    return args, {key: value for key, value in built.items() if isinstance(key, str)}


def _fits(words: list[str], parameter: inspect.Parameter) -> bool:
    """Can the parameter take a name of these words? `*rest` takes `rest.0`, `**options` takes `options.scale`."""
    if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
        return len(words) > 1 and words[1].isdigit()
    return len(words) > 1 if parameter.kind is inspect.Parameter.VAR_KEYWORD else True


def _built(value: Any, annotation: Any) -> Any:
    """Turn a tree into lists, tuples and dicts: indices make a list, or a tuple where the annotation says so."""
    if not isinstance(value, dict):
        return value
    while type(None) in (choices := typing.get_args(annotation)) and len(choices) == 2:  # Optional
        annotation = next(choice for choice in choices if choice is not type(None))
    # of a list's items or of a dict's values
    item = next((inner for inner in reversed(choices) if inner is not Ellipsis), None)
    if isinstance(next(iter(value)), int):
        items = [_built(value[index], item) for index in sorted(value)]
        return tuple(items) if (typing.get_origin(annotation) or annotation) is tuple else items
    return {key: _built(inner, item) for key, inner in value.items()}


def _check(names: Sequence[str], paths: Sequence[ArgumentPath]) -> None:
    """Refuse a name inside another one, a container of indices and keys, and a missing index."""
    inside: dict[tuple[int | str, ...], set[int | str]] = {}
    named = {(p.argument, *p.keys): name for name, p in zip(names, paths, strict=True)}
    for path, name in named.items():
        for length in range(1, len(path)):
            outer = path[:length]
            inside.setdefault(outer, set()).add(path[length])
            if outer in named:
                raise SpecError(f"{name} lies inside {named[outer]}, which is an input itself; declare one of them.")
    positions = sorted({p.argument for p in paths if isinstance(p.argument, int)})
    if positions != list(range(len(positions))):
        raise SpecError(f"{', '.join(names)} leave out a positional argument before the last; declare every one.")
    for path, keys in inside.items():
        name = f"{'' if isinstance(path[0], str) else 'argument '}{'.'.join(map(str, path))}"
        indices = sorted(key for key in keys if isinstance(key, int))
        if indices and len(indices) < len(keys):
            raise SpecError(f"{name} has indices and keys ({_shown(keys)}); a list takes 0, 1…, a dict takes words.")
        if indices and indices != list(range(len(indices))):
            raise SpecError(f"{name} has the items {_shown(keys)}; number them from 0 without a gap.")


def _shown(keys: set[int | str]) -> str:
    return ", ".join(sorted(map(str, keys)))
