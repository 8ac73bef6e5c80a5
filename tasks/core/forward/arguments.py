"""How forward takes its inputs: by keyword or position, alone or inside lists, tuples and dicts."""

import inspect
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tasks.core.errors import SpecError

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL)
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
Arguments = tuple[tuple[Any, ...], dict[str, Any]]
"""Args and kwargs of forward."""
_Tree = dict[int | str, Any]


@dataclass(frozen=True)
class Place:
    """Where one input stands in a call of forward."""

    argument: int | str
    """Position or keyword of the argument."""
    keys: tuple[int | str, ...] = ()
    """The way into it: indices of lists and tuples, keys of dicts."""
    annotation: Any = None
    """Forward's annotation of the argument, which tells a tuple from a list."""


def forward_parameters(model: nn.Module) -> list[str]:
    """Names of forward's parameters, in order."""
    return [name for name, p in inspect.signature(model.forward).parameters.items() if p.kind in _NAMED]


def places_of(names: Sequence[str], model: nn.Module) -> tuple[Place, ...]:
    """Where each input stands: `image` is an argument, `images.0` and `batch.pixels` lie inside one.

    If every name begins with a parameter of forward, that parameter takes it, by keyword where it can be;
    otherwise all are passed by position, one argument a name.

    Raises:
        SpecError: names contradict each other, or leave a gap in a list.
    """
    parameters = inspect.signature(model.forward).parameters
    ways = [name.split(".") for name in names]
    if not all(way[0] in parameters and _is_way(parameters[way[0]], way) for way in ways):
        return tuple(Place(index) for index in range(len(names)))
    annotations = _annotations(model)
    order = list(parameters)
    by_position = any(parameters[way[0]].kind in _POSITIONAL for way in ways)
    places = []
    for way in ways:
        kind, keys = parameters[way[0]].kind, tuple(int(key) if key.isdigit() else key for key in way[1:])
        argument: int | str = way[0]
        if kind is inspect.Parameter.VAR_POSITIONAL:
            argument, keys = order.index(way[0]) + int(keys[0]), keys[1:]
        elif kind is inspect.Parameter.VAR_KEYWORD:
            argument, keys = str(keys[0]), keys[1:]
        elif by_position and kind is not inspect.Parameter.KEYWORD_ONLY:
            argument = order.index(way[0])
        places.append(Place(argument, keys, annotations.get(way[0])))
    _check(names, places)
    return tuple(places)


def forward_order(places: Sequence[Place], model: nn.Module) -> list[int]:
    """The order in which forward has its arguments, and exporters put them; what lies in one stays as given."""
    order = {name: index for index, name in enumerate(inspect.signature(model.forward).parameters)}
    ranks = [p.argument if isinstance(p.argument, int) else order.get(p.argument, len(order)) for p in places]
    return sorted(range(len(places)), key=lambda index: ranks[index])


def build_arguments(places: Sequence[Place], tensors: Sequence[torch.Tensor]) -> Arguments:
    """Args and kwargs of forward that hold these tensors at these places."""
    arguments: _Tree = {}
    annotations: dict[int | str, Any] = {}
    for place, tensor in zip(places, tensors, strict=True):
        annotations[place.argument] = place.annotation
        _put(arguments, (place.argument, *place.keys), tensor)
    built = {argument: _built(value, annotations[argument]) for argument, value in arguments.items()}
    args = tuple(built[key] for key in sorted(key for key in built if isinstance(key, int)))
    return args, {key: value for key, value in built.items() if isinstance(key, str)}


def _is_way(parameter: inspect.Parameter, way: list[str]) -> bool:
    """Does the name say enough for this parameter? `*rest` takes `rest.0`, `**options` takes `options.scale`."""
    if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
        return len(way) > 1 and way[1].isdigit()
    return len(way) > 1 if parameter.kind is inspect.Parameter.VAR_KEYWORD else True


def _annotations(model: nn.Module) -> Mapping[str, Any]:
    try:
        return typing.get_type_hints(model.forward)
    except Exception:  # a name in an annotation may exist for type checkers only
        return {}


def _put(tree: _Tree, way: tuple[int | str, ...], value: Any) -> None:
    *inner, last = way
    for key in inner:
        tree = tree.setdefault(key, {})
    tree[last] = value


def _built(value: Any, annotation: Any) -> Any:
    """Lists, tuples and dicts out of a tree: indices make a list, or a tuple where forward says so."""
    if not isinstance(value, dict):
        return value
    item = _item_annotation(annotation)
    if isinstance(next(iter(value)), int):
        items = [_built(value[index], item) for index in sorted(value)]
        return tuple(items) if _origin(annotation) is tuple else items
    return {key: _built(inner, item) for key, inner in value.items()}


def _origin(annotation: Any) -> Any:
    choices = [a for a in typing.get_args(annotation) if a is not type(None)]
    is_optional = type(None) in typing.get_args(annotation) and len(choices) == 1
    return _origin(choices[0]) if is_optional else typing.get_origin(annotation) or annotation


def _item_annotation(annotation: Any) -> Any:
    """What a list's items or a dict's values are said to be."""
    inner = [a for a in typing.get_args(annotation) if a is not Ellipsis and a is not type(None)]
    if len(inner) == 1 and type(None) in typing.get_args(annotation):
        return _item_annotation(inner[0])
    return inner[-1] if inner else None


def _check(names: Sequence[str], places: Sequence[Place]) -> None:
    """Hold the names against each other.

    Raises:
        SpecError: one lies inside another, a container has indices and keys, or an index is missing.
    """
    inside: dict[tuple[int | str, ...], set[int | str]] = {}
    ways = {(place.argument, *place.keys): name for name, place in zip(names, places, strict=True)}
    for way, name in ways.items():
        for length in range(1, len(way)):
            inside.setdefault(way[:length], set()).add(way[length])
            if way[:length] in ways:
                raise SpecError(
                    f"{name} lies inside {ways[way[:length]]}, which is an input itself; declare one of them."
                )
    positions = sorted({place.argument for place in places if isinstance(place.argument, int)})
    if positions != list(range(len(positions))):
        raise SpecError(f"{', '.join(names)} leave out a positional argument before the last; declare every one.")
    for way, keys in inside.items():
        name = ".".join(map(str, way)) if isinstance(way[0], str) else f"argument {'.'.join(map(str, way))}"
        indices = sorted(key for key in keys if isinstance(key, int))
        if indices and len(indices) < len(keys):
            raise SpecError(f"{name} has indices and keys ({_shown(keys)}); a list takes 0, 1…, a dict takes words.")
        if indices and indices != list(range(len(indices))):
            raise SpecError(f"{name} has the items {_shown(keys)}; number them from 0 without a gap.")


def _shown(keys: set[int | str]) -> str:
    return ", ".join(sorted(map(str, keys)))
