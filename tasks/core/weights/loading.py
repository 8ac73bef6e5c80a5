"""Load weights into a module, strictly."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from tasks.core.errors import WeightsError, some
from tasks.core.weights.choice import choose, several
from tasks.core.weights.matching import Fit, OwnKeys, is_allowed
from tasks.core.weights.state_dicts import StateDict, copied
from tasks.core.weights.tied_weights import check_shared


@dataclass(frozen=True)
class Loaded:
    """What was loaded, and what happened to the keys."""

    num_loaded: int
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    renamed: tuple[str, ...] = ()
    nesting: tuple[str, ...] = ()
    chosen: str = ""
    """Label of the set that was taken, where there were several."""
    notes: tuple[str, ...] = ()
    tensors: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """All of the set."""


def load_weights(
    model: nn.Module,
    sets: Sequence[StateDict],
    *,
    ignore_missing: tuple[str, ...] = (),
    ignore_unexpected: tuple[str, ...] = (),
) -> Loaded:
    """Load the set of weights that fits the module; every key must fit but those that the globs allow.

    Args:
        model: the module.
        sets: sets of weights, at least one.
        ignore_missing: globs of keys that may lack.
        ignore_unexpected: globs of keys that may be left over.

    Raises:
        WeightsError: several sets fit, keys are missing or left over, a tensor has another shape or kind, or the
            module's own hooks refuse them.
    """
    own = OwnKeys(model)
    choice = choose(sets, own, ignore_missing=ignore_missing, ignore_unexpected=ignore_unexpected)
    fit = choice.fit
    tensors = copied(fit.tensors, lambda key: key)
    for key in own.without_computed(tensors):
        del tensors[key]
    _check_kinds(own.state, tensors)
    result = _load(model, tensors)
    check_shared(model.state_dict(), tensors)
    if choice.rivals:
        raise WeightsError(several((fit, *choice.rivals)))
    if len(result.unexpected_keys) == len(tensors) and result.missing_keys:
        raise WeightsError(
            f"No key fits: the weights have {', '.join(result.unexpected_keys[:3])}…, {type(model).__name__} has "
            f"{', '.join(result.missing_keys[:3])}…; give the weights of this very model."
        )
    missing = own.still_missing(result.missing_keys, tensors)
    tied = tuple(f"{key} = {_holder(key, own, tensors)}" for key in result.missing_keys if key not in missing)
    return Loaded(
        num_loaded=len(tensors) - len(result.unexpected_keys),
        missing=_strictly("missing", missing, ignore_missing),
        unexpected=_strictly("unexpected", result.unexpected_keys, ignore_unexpected, fit=fit),
        renamed=(*fit.renamed, *tied),
        nesting=fit.found.nesting,
        chosen=fit.found.label if choice.passed_over else "",
        tensors=fit.found.tensors,
        notes=tuple(filter(None, [choice.note])),
    )


def _load(model: nn.Module, tensors: Mapping[str, Any]) -> Any:
    """The keys that `load_state_dict` returns, after the module's own hooks."""
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
    return result


def _holder(key: str, own: OwnKeys, tensors: Mapping[str, Any]) -> str:
    """The loaded key with which another one shares its storage."""
    return next(other for other in own.held_by[key] if other in tensors)


def _check_kinds(state: Mapping[str, Any], tensors: Mapping[str, Any]) -> None:
    """Refuse what PyTorch would cast silently into other numbers.

    Integers and 8-bit floats lack their scales, complex numbers would lose their imaginary part, and integers
    can't hold fractions or large numbers.
    """
    for key, own in state.items():
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
        elif not (own.is_floating_point() or own.is_complex()):
            is_kept = torch.equal(given, given.to(own.dtype).to(given.dtype))
            what = "" if is_kept else "its values would become others; give the right weights"
        if what:
            raise WeightsError(f"{key} is {given.dtype} in the weights and {own.dtype} in the model: {what}.")


def _strictly(kind: str, keys: list[str], allowed: tuple[str, ...], *, fit: Fit | None = None) -> tuple[str, ...]:
    names = dict(zip(fit.tensors, fit.found.tensors, strict=False)) if fit else {}
    refused = [key for key in keys if not is_allowed(key, allowed) and not is_allowed(names.get(key, key), allowed)]
    if refused:
        what = "missing from the weights" if kind == "missing" else "unknown to the model"
        part = f"take a part of them with FILE#{fit.label}, " if fit and fit.prefix and fit.is_covering else ""
        raise WeightsError(
            f"{len(refused)} keys are {what}: {some(refused, most=5)}; "
            f"give the right weights, {part}or allow them by name with --ignore-{kind}."
        )
    return tuple(keys)
