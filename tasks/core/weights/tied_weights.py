"""Keys of a module that share storage: what is loaded into one is loaded into the other."""

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn.parameter import is_lazy

from tasks.core.errors import WeightsError


def held_by(state: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """By key of a module's state: the others whose tensors lie where its own lies, all of it."""
    return {
        key: tuple(other for other in keys if other != key and _holds(state[other], state[key]))
        for keys in _groups(state)
        for key in keys
    }


def _groups(state: Mapping[str, Any]) -> list[list[str]]:
    """Keys of tensors that lie in one storage."""
    places: dict[int, list[str]] = {}
    for key, value in state.items():
        is_plain = isinstance(value, torch.Tensor) and not is_lazy(value) and value.layout == torch.strided
        if is_plain and value.device.type != "meta" and value.numel():
            places.setdefault(value.untyped_storage().data_ptr(), []).append(key)
    return [keys for keys in places.values() if len(keys) > 1]


def _holds(outer: torch.Tensor, inner: torch.Tensor) -> bool:
    """Is each byte of one tensor a byte of the other, too?"""
    if _place(outer) == _place(inner):
        return True
    span = sum((size - 1) * stride for size, stride in zip(inner.shape, inner.stride(), strict=True)) + 1
    end = inner.data_ptr() + span * inner.element_size()
    whole = outer.data_ptr() + outer.numel() * outer.element_size()
    return outer.is_contiguous() and outer.data_ptr() <= inner.data_ptr() and end <= whole


def check_shared(state: Mapping[str, Any], tensors: Mapping[str, Any]) -> None:
    """Refuse two values for what lies in one place in the module: the last one has won.

    Args:
        state: of the module, with what was loaded.
        tensors: by its keys.

    Raises:
        WeightsError: a tensor that shares storage has not the value that was given.
    """
    for group in _groups(state):
        given = {key: tensors[key] for key in group if isinstance(tensors.get(key), torch.Tensor)}
        for key, value in given.items():
            if value.shape == state[key].shape and not torch.equal(state[key], value.to(state[key].dtype)):
                raise WeightsError(
                    f"{' and '.join(given)} are one tensor in the model, or parts of one, but differ in the weights; "
                    f"build the model without tying them, or leave the wrong one out of the weights."
                )


def _place(tensor: torch.Tensor) -> tuple[object, ...]:
    return tensor.data_ptr(), tensor.shape, tensor.stride()
