"""Load the tensors of a state_dict into a module, strictly."""

import fnmatch
import re
from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tasks.core.errors import WeightsError


@dataclass(frozen=True)
class Loaded:
    """What happened to the keys, as `LoadReport` has it."""

    num_loaded: int
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    renamed: tuple[str, ...] = ()
    nesting: tuple[str, ...] = ()


def load_state_dict(
    model: nn.Module,
    tensors: Mapping[str, Any],
    *,
    ignore_missing: tuple[str, ...] = (),
    ignore_unexpected: tuple[str, ...] = (),
) -> Loaded:
    """Load tensors into the module; every key must fit but those that the globs allow.

    Args:
        model: the module.
        tensors: tensors by key, and what else its hooks keep in a state_dict.
        ignore_missing: globs of keys that may lack.
        ignore_unexpected: globs of keys that may be left over.

    Raises:
        WeightsError: keys are missing or left over, a tensor has another shape or kind, or the module's own
            hooks refuse them.
    """
    tensors, renamed = _without_prefixes(copied(tensors), set(model.state_dict()))
    _check_kinds(model, tensors)
    try:
        result = model.load_state_dict(tensors, strict=False)
    except Exception as error:  # the module's own hooks may raise anything; it becomes one sentence
        lines = [line.strip() for line in str(error).splitlines()[1:]] or [str(error)]
        shapes = [re.sub(r"copying a param with shape torch\.Size\((.*?)\) from checkpoint, the shape in current "
                         r"model is torch\.Size\((.*?)\)\.", r"\1 in the weights, \2 in the model", line)
                  for line in lines]  # fmt: skip
        more = f" and {len(shapes) - 3} more" if len(shapes) > 3 else ""
        raise WeightsError(
            f"The weights do not fit {type(model).__name__}: {'; '.join(shapes[:3])}{more}; "
            f"give the factory the arguments it was trained with (--kwargs)."
        ) from error
    if result is None:
        raise WeightsError(
            f"{type(model).__name__}.load_state_dict returns nothing, so that missing keys would go unseen; "
            f"let it return what super().load_state_dict returns."
        )
    if len(result.unexpected_keys) == len(tensors) and result.missing_keys:
        raise WeightsError(
            f"No key fits: the weights have {', '.join(result.unexpected_keys[:3])}…, {type(model).__name__} has "
            f"{', '.join(result.missing_keys[:3])}…; give the weights of this very model."
        )
    missing = _strictly("missing", result.missing_keys, ignore_missing)
    unexpected = _strictly("unexpected", result.unexpected_keys, ignore_unexpected)
    return Loaded(len(tensors) - len(unexpected), missing, unexpected, renamed)


def copied(tensors: Mapping[Any, Any], *, word: str = "", inside: str = "") -> OrderedDict[str, Any]:
    """Copy a state_dict, the leading `word` and `inside` taken out of its keys.

    The copy keeps what modules know of the version of their format: some, such as MNASNet, refuse to load
    without it.

    Args:
        tensors: the state_dict.
        word: first word of keys, dropped with its dot where a key begins with it.
        inside: text dropped wherever it stands in a key.
    """

    def renamed(key: str) -> str:
        key = key.replace(inside, "") if inside else key
        return f"{key}.".removeprefix(f"{word}.").removesuffix(".") if word else key

    copy = OrderedDict((renamed(str(key)), value) for key, value in tensors.items())
    versions = getattr(tensors, "_metadata", None)
    if isinstance(versions, Mapping):
        # in this order, so that the entry of a wrapped module wins over its wrapper's
        copy._metadata = OrderedDict((renamed(key), value) for key, value in versions.items())  # type: ignore[attr-defined]
    return copy


def _without_prefixes(
    tensors: OrderedDict[str, Any], wanted: set[str]
) -> tuple[OrderedDict[str, Any], tuple[str, ...]]:
    """Drop `_orig_mod.` anywhere, and the leading word of most keys, where that fits the model better.

    A few keys without that word stay as they are: torch's AveragedModel puts `n_averaged` beside `module.*`,
    trainers put their losses beside `model.*`.
    """
    renamed: list[str] = []
    if any("_orig_mod." in key for key in tensors) and not any("_orig_mod." in key for key in wanted):
        tensors = copied(tensors, inside="_orig_mod.")
        renamed.append("_orig_mod. dropped")
    best, shorter, dropped = tensors, tensors, []
    while words := Counter(key.partition(".")[0] for key in shorter if "." in key).most_common(1):
        word = words[0][0]
        shorter = copied(shorter, word=word)
        if len(shorter) < len(tensors):
            break
        dropped.append(f"{word}.* -> *")
        if len(wanted & shorter.keys()) > len(wanted & best.keys()):
            best = shorter
            renamed += dropped
            dropped = []
    return best, tuple(renamed)


def _check_kinds(model: nn.Module, tensors: Mapping[str, Any]) -> None:
    """Refuse what PyTorch would cast silently into other numbers.

    Integers and 8-bit floats lack their scales, complex numbers would lose their imaginary part, and
    fractions would be cut off.
    """
    for key, own in model.state_dict().items():
        given = tensors.get(key)
        if not isinstance(own, torch.Tensor) or not isinstance(given, torch.Tensor):
            continue
        what = ""
        if own.is_floating_point() and (
            given.is_quantized or (not given.is_floating_point() and not given.is_complex())
        ):
            what = "quantized weights need their scales applied; save the dequantized tensors"
        elif own.dtype != given.dtype and given.is_floating_point() and given.element_size() == 1:
            what = "8-bit floats need their scales applied; save the dequantized tensors"
        elif given.is_complex() and not own.is_complex():
            what = "its imaginary part would be lost; give the weights of this model"
        elif given.is_floating_point() and not (own.is_floating_point() or own.is_complex()):
            what = "" if torch.equal(given, given.round()) else "its fractions would be cut off; give the right weights"
        if what:
            raise WeightsError(f"{key} is {given.dtype} in the weights and {own.dtype} in the model: {what}.")


def _strictly(kind: str, keys: list[str], allowed: tuple[str, ...]) -> tuple[str, ...]:
    refused = [key for key in keys if not any(fnmatch.fnmatchcase(key, glob) for glob in allowed)]
    if refused:
        what = "missing from the weights" if kind == "missing" else "unknown to the model"
        shown = ", ".join(refused[:5]) + (f" and {len(refused) - 5} more" if len(refused) > 5 else "")
        raise WeightsError(
            f"{len(refused)} keys are {what}: {shown}; "
            f"give the right weights, or allow them by name with --ignore-{kind}."
        )
    return tuple(keys)
