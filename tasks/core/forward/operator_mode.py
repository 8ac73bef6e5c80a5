"""The base of dispatch modes that see each operator of a module, inside its control flow, too."""

import functools
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map


class OperatorMode(TorchDispatchMode):
    """A dispatch mode that stays on inside the functions that torch.cond, while_loop, scan and map are given.

    PyTorch hands it these operators as it does any other, though they have neither a schema nor tags.
    """

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's own

    def call(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run an operator; the mode sees what the functions among its arguments run.

        Args:
            func: the operator.
            args: its positional arguments.
            kwargs: its arguments by keyword; None: there are none.
        """
        if isinstance(func, torch._ops.HigherOrderOperator):
            args, kwargs = tree_map(self._entering, (args, kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _entering(self, value: Any) -> Any:
        """A function that enters this mode first; anything else as it is."""
        if not callable(value):
            return value

        @functools.wraps(value)
        def entered(*args: Any, **kwargs: Any) -> Any:
            with self:
                return value(*args, **kwargs)

        return entered


def is_mutable(func: Any) -> bool:
    """Does an operator write into one of its arguments?"""
    return bool(getattr(getattr(func, "_schema", None), "is_mutable", False))
