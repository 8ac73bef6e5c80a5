"""Does the first call of a module overwrite what was loaded? Data-dependent initialisation does, once and for all."""

from collections.abc import Callable, Sequence

import torch

from tasks.core.forward.loaded_state import LoadedState

_NUM_NAMED = 4
Answer = Callable[[int], Sequence[torch.Tensor]]
"""Runs the module on the values of a seed, and gives copies of its outputs."""


def overwritten(loaded: LoadedState, answer: Answer) -> list[str]:
    """Names of what the first call changed, if the module's later answers are not those of what was loaded.

    Caches, counters and what is kept to be looked at change, too, but no answer depends on the first input for it. Of a
    module that keeps changing nothing is said here: it does not repeat its answers.

    Args:
        loaded: the state before the first call, which was watched; the state is another one afterwards.
        answer: further runs at the same sizes.
    """
    changed = loaded.changed()
    if not changed or loaded.are_parameters(changed):
        return changed
    with loaded.watched():
        settled, _, again = answer(2), answer(1), answer(2)
        if not _are_equal(settled, again):
            return []
        loaded.restore()
        _, after_another = answer(1), answer(2)
        loaded.restore_weights()
        with_weights = answer(2)
    return [] if _are_equal(settled, after_another) and _are_equal(settled, with_weights) else changed


def sentence(names: Sequence[str]) -> str:
    """What a reader is told.

    Args:
        names: of what is overwritten.
    """
    more = f" and {len(names) - _NUM_NAMED} more" if len(names) > _NUM_NAMED else ""
    return (
        f"the first call of the module overwrites {', '.join(names[:_NUM_NAMED])}{more}, so that its answers depend "
        f"on the first input rather than on what was loaded; keep the flag that says whether this was done in the "
        f"state_dict, or set it when the weights are loaded"
    )


def _are_equal(first: Sequence[torch.Tensor], second: Sequence[torch.Tensor]) -> bool:
    return len(first) == len(second) and all(
        a.shape == b.shape and bool(torch.isclose(a, b, rtol=0, atol=0, equal_nan=a.is_floating_point()).all())
        for a, b in zip(first, second, strict=True)
    )
