"""Sets of weights in what a checkpoint holds: found wherever they lie, and chosen by name."""

import re
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from tasks.core.errors import WeightsError, some
from tasks.core.weights.foreign_files import PARTS
from tasks.core.weights.pickled_arrays import PickledArray

_MAX_DEPTH = 5
"""Of dicts in dicts, in which weights are looked for."""

_WRAPPERS = re.compile(r"(?:(?<=\.)|^)(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.|(?<=\.)module\.")
"""Words that torch.compile, FSDP and activation checkpointing put into keys anywhere, DataParallel amid them."""

_OPTIMIZER = re.compile(r"(^|_)optim(izer)?s?(_|$)", re.IGNORECASE)


@dataclass(frozen=True)
class StateDict:
    """One set of weights: tensors by key, and the keys of the file under which they lay."""

    tensors: Mapping[str, Any]
    nesting: tuple[str, ...] = ()
    parts: tuple["StateDict", ...] = ()
    """Sets of which this one was joined."""

    @property
    def label(self) -> str:
        """What the set is called in `FILE#LABEL`; empty: it is all that the file holds."""
        return ".".join(self.nesting)

    @property
    def is_unnamed(self) -> bool:
        """Is it a list, such as that of an average's `shadow_params`?"""
        return isinstance(self.tensors, _Listed)


class _Listed(OrderedDict[str, Any]):
    """The tensors of a list, by their index."""


def find_sets(content: Any, source: str, *, part: str = "") -> tuple[StateDict, ...]:
    """Find the sets of weights in what a file holds: every dict that holds tensors or arrays by name.

    Args:
        content: what was read, a state_dict or a module.
        source: what messages call it, e.g. the file's name.
        part: label of the set that is meant, or of a group of keys in it: `model_ema`, `teacher.backbone`; else all.

    Raises:
        WeightsError: there is none, or none with this label.
    """
    sets = tuple(_sets(content, ()))
    if all(found.is_unnamed for found in sets):
        found = ", ".join(map(str, list(content)[:12])) if isinstance(content, Mapping) else type(content).__name__
        message = f"{source} holds no tensors by name but {found or 'nothing'}; save model.state_dict() into it."
        raise WeightsError(message)
    if any(hasattr(value, "full_tensor") for found in sets for value in found.tensors.values()):
        raise WeightsError(PARTS.format(name=source))
    if not part:
        return sets
    parts = tuple(chosen for found in sets if (chosen := _part(found, part)))
    if not parts:
        known = {found.label for found in sets} - {""} or {key.partition(".")[0] for key in sets[0].tensors}
        raise WeightsError(f"{source} has no weights called {part!r}; it has {some(sorted(known))}.")
    return parts


def joined(sets: Sequence[StateDict], keys: Collection[str]) -> Iterator[StateDict]:
    """Join sets that lie beside each other under the names of a module's parts, such as `encoder` and `decoder`.

    Args:
        sets: all of a file.
        keys: of the module; what lies beside the parts under one of them is joined, too.
    """
    names = {key.partition(".")[0] for key in keys if "." in key}
    for nesting in dict.fromkeys(found.nesting[:-1] for found in sets):
        parts = [found for found in sets if found.nesting[:-1] == nesting and {*found.nesting[-1:]} & names]
        if len(parts) > 1:
            beside = next((found for found in sets if found.nesting == nesting), StateDict({}, nesting))
            tensors = {key: value for key, value in beside.tensors.items() if key in keys}
            tensors |= {f"{part.nesting[-1]}.{key}": value for part in parts for key, value in part.tensors.items()}
            yield StateDict(tensors, nesting, (*parts, beside))


def unwrapped_key(key: str) -> str:
    """A key without the words of wrappers."""
    return _WRAPPERS.sub("", key)


def copied(tensors: Mapping[str, Any], rename: Callable[[str], str]) -> OrderedDict[str, Any]:
    """Copy a state_dict under other keys, with what modules know of the version of their format.

    Some, such as MNASNet, refuse to load without it.

    Args:
        tensors: the state_dict.
        rename: gives the new key, also of the path of a module with a dot at its end.
    """
    copy = OrderedDict((rename(key), value) for key, value in tensors.items())
    versions = getattr(tensors, "_metadata", None)
    if isinstance(versions, Mapping):
        # in this order, so that the entry of a wrapped module wins over its wrapper's
        paths = (rename(f"{path}." if path else "").removesuffix(".") for path in versions)
        copy._metadata = OrderedDict(zip(paths, versions.values(), strict=True))  # type: ignore[attr-defined]
    return copy


def _sets(content: Any, nesting: tuple[str, ...]) -> Iterator[StateDict]:
    """Depth first; without the state of optimizers, which may have the weights' own keys and shapes."""
    if isinstance(content, nn.Module):
        yield StateDict(content.state_dict(), nesting)
    elif isinstance(content, list | tuple):
        tensors = _Listed((str(index), value) for index, value in enumerate(content) if isinstance(value, torch.Tensor))
        if tensors:
            yield StateDict(tensors, nesting)
        for index, value in enumerate(content):
            if isinstance(value, Mapping | nn.Module):
                yield from _sets(value, (*nesting, str(index)))
    elif isinstance(content, Mapping):
        named = {key: value for key, value in content.items() if isinstance(key, str)}
        own = OrderedDict((key, _tensor(value)) for key, value in named.items())
        kept = OrderedDict((key, value) for key, value in own.items() if value is not None or "_extra_state" in key)
        if any(value is not None for value in own.values()):
            kept.update((key, named[key]) for key, value in kept.items() if value is None)
            kept._metadata = getattr(content, "_metadata", None)  # type: ignore[attr-defined]
            yield StateDict(kept, nesting)
        for key, value in named.items() if len(nesting) < _MAX_DEPTH else ():
            if isinstance(value, Mapping | nn.Module | list | tuple) and not _OPTIMIZER.search(key):
                yield from _sets(value, (*nesting, key))


def _tensor(value: Any) -> torch.Tensor | None:
    """A tensor, or an array of numbers as one; None for all else."""
    if isinstance(value, torch.Tensor):
        return value
    if isinstance(value, PickledArray):
        value = value.array
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc" and value.dtype.itemsize <= 16:
        return torch.from_numpy(np.array(value, dtype=value.dtype.newbyteorder("=")))
    return None


def _part(found: StateDict, part: str) -> StateDict | None:
    """The set where it has this label or lies below it; the keys of it that begin with the rest of the label."""
    label = found.label
    if label == part or label.startswith(f"{part}."):
        return found
    start = part.removeprefix(f"{label}.") if label else part
    if label and start == part:
        return None
    for plain in (str, unwrapped_key):
        kept = copied(found.tensors, plain)
        for key in [key for key in kept if not key.startswith(f"{start}.")]:
            del kept[key]
        if kept:
            tensors = copied(kept, lambda key: key.removeprefix(f"{start}."))
            return StateDict(tensors, (*found.nesting, *start.split(".")))
    return None
