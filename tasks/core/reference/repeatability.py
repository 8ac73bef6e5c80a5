"""Does a module give equal answers to equal inputs? f(a), f(b), f(a) must repeat; if not, why."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.module_tracker import ModuleTracker

from tasks.core.arrays import Array
from tasks.core.forward.loaded_state import LoadedState
from tasks.core.forward.operator_mode import OperatorMode

Run = Callable[[], object]
"""Runs a module once."""


class _RandomOperators(OperatorMode):
    """Notes operators that draw random numbers, and the module that calls them."""

    def __init__(self, tracker: ModuleTracker) -> None:
        super().__init__()
        self._tracker = tracker
        self.found: dict[str, None] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: PLR0917
        if torch.Tag.nondeterministic_seeded in getattr(func, "tags", ()):
            path = max(self._tracker.parents - {"Global"}, key=len, default="").partition(".")[2]
            self.found[f"{func.overloadpacket} in {path or 'forward'}"] = None
        return self.call(func, args, kwargs)


def first_difference(before: Sequence[Array], after: Sequence[Array]) -> int:
    """Index of the first output that differs between two answers to one input; -1: none does.

    Args:
        before: the first answer, one array an output.
        after: the second one.
    """
    same = (np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in zip(before, after, strict=False))
    return next((index for index, is_same in enumerate(same) if not is_same), -1)


def why_unrepeatable(network: nn.Module, first: Run, second: Run) -> str:
    """What makes the answers differ, and what to do.

    Args:
        network: a module that does not repeat its answers.
        first: runs it on one input.
        second: runs it on another one.
    """
    with ModuleTracker() as tracker, _RandomOperators(tracker) as operators:
        first()
    if operators.found:
        return (
            f"the module draws random numbers ({', '.join(operators.found)}), so no file can be proven equal to it; "
            f"take the randomness out of forward, or pass it in as an input"
        )
    loaded = LoadedState(network)
    with loaded.watched():
        second()
    changed = loaded.changed()
    where = f" in {', '.join(changed)}" if changed else ""
    return f"the module keeps state{where}, so no file can be proven equal to it; make the state an input and an output"
