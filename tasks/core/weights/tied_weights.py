"""Keys of a module that share storage: what is loaded into one is loaded into the other."""

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn.parameter import is_lazy

from tasks.core.errors import WeightsError


def held_by(state: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """By key of a module's state: the others whose tensors lie where its own lies, all of it."""
    places: dict[int, list[str]] = {}
    for key, value in state.items():
        is_plain = isinstance(value, torch.Tensor) and not is_lazy(value) and value.layout == torch.strided
        if is_plain and value.device.type != "meta" and value.numel():
            places.setdefault(value.untyped_storage().data_ptr(), []).append(key)
    held: dict[str, tuple[str, ...]] = {}
    for keys in places.values():
        for key in keys if len(keys) > 1 else ():
            held[key] = tuple(other for other in keys if other != key and _holds(state[other], state[key]))
    return held


def _holds(outer: torch.Tensor, inner: torch.Tensor) -> bool:
    """Is each byte of one tensor a byte of the other, too?"""
    if _place(outer) == _place(inner):
        return True
    span = sum((size - 1) * stride for size, stride in zip(inner.shape, inner.stride(), strict=True)) + 1
    end = inner.data_ptr() + span * inner.element_size()
    whole = outer.data_ptr() + outer.numel() * outer.element_size()
    return outer.is_contiguous() and outer.data_ptr() <= inner.data_ptr() and end <= whole


def check_tied(state: Mapping[str, Any], tensors: Mapping[str, Any]) -> None:
    """Refuse two values for what is one tensor in the module: the last one would win.

    Args:
        state: of the module.
        tensors: by its keys.

    Raises:
        WeightsError: they differ.
    """
    for key, others in held_by(state).items():
        for other in others:
            a, b = tensors.get(key), tensors.get(other)
            if not isinstance(a, torch.Tensor) or not isinstance(b, torch.Tensor) or a.shape != b.shape:
                continue
            if _place(state[key]) == _place(state[other]) and not torch.equal(a, b.to(a.dtype)):
                raise WeightsError(
                    f"{key} and {other} are one tensor in the model, but differ in the weights; build the model "
                    f"without tying them, or leave the wrong one out of the weights."
                )


def _place(tensor: torch.Tensor) -> tuple[object, ...]:
    return tensor.data_ptr(), tensor.shape, tensor.stride()
