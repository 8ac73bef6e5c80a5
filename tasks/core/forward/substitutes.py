"""Run a module with something else in place of one of its weights, or of what it computes from weights alone."""

from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map_only

from tasks.core.arrays import Array
from tasks.core.forward.fixed_values import FixedValues


class Substitute(FixedValues):
    """Hands each operator a fixed value with something added to it."""

    def __init__(self, model: nn.Module, *, place: int | str, change: Array) -> None:
        """Take the name of a weight, or the number of what is computed from some, and what is added to it."""
        super().__init__(model)
        self._place, self._change = place, torch.from_numpy(change)

    def call(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run an operator on the changed value wherever it takes that.

        Args:
            func: the operator.
            args: its positional arguments.
            kwargs: its arguments by keyword; None: there are none.
        """
        args, kwargs = tree_map_only(torch.Tensor, self._changed, (args, kwargs or {}))
        return super().call(func, args, kwargs)

    def _changed(self, tensor: torch.Tensor) -> torch.Tensor:
        is_it = self._place in (self._names.get(id(tensor)), self._numbers.get(id(tensor)))
        return (tensor + self._change).to(tensor.dtype) if is_it else tensor
