"""Which of several sets of weights is the one for a module: decided by its keys and shapes, never by a guess."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from tasks.core.errors import WeightsError, some
from tasks.core.weights.matching import Fit, OwnKeys, fits_of
from tasks.core.weights.state_dicts import StateDict, joined


@dataclass(frozen=True)
class Choice:
    """The fit that was taken, and what else there was."""

    fit: Fit
    rivals: tuple[Fit, ...] = ()
    """Others that fit no worse, where none fits by its keys alone: the module's own hooks may know them."""
    passed_over: tuple[str, ...] = ()
    """Labels of the other sets."""

    @property
    def note(self) -> str:
        """What was taken, for a reader; empty where there was no choice."""
        if not self.passed_over:
            return ""
        found = self.fit.found
        parts = " with ".join(part.label for part in found.parts if part.nesting != found.nesting)
        taken, others = parts or self.fit.label or "the outermost", some(list(self.passed_over))
        return f"of several sets of weights {taken} is taken, the one that fits; not {others}"


def choose(
    sets: Sequence[StateDict], own: OwnKeys, *, ignore_missing: tuple[str, ...], ignore_unexpected: tuple[str, ...]
) -> Choice:
    """Choose the set that gives the module all its keys in their shapes, and as little else as possible.

    Args:
        sets: all of a file, or those that were asked for.
        own: the module's keys.
        ignore_missing: globs of keys that may lack.
        ignore_unexpected: globs of keys that may be left over.

    Raises:
        WeightsError: several fit, and their values differ.
    """
    fits = [
        fit
        for found in (*sets, *joined(sets, own.by_plain))
        for fit in fits_of(found, own, ignore_missing=ignore_missing, ignore_unexpected=ignore_unexpected)
    ]
    for good in ([fit for fit in fits if fit.is_exact], [fit for fit in fits if fit.is_covering]):
        if different := _different(good, own):
            if len(different) > 1:
                raise WeightsError(several(different))
            if not different[0].hides:
                return Choice(different[0], passed_over=_passed_over(different[0], sets, fits))
    fit, *rivals = _nearest([fit for fit in fits if not fit.hides], num_keys=len(own.state))
    return Choice(fit, tuple(rivals), _passed_over(fit, sets, fits))


def _nearest(fits: list[Fit], *, num_keys: int) -> list[Fit]:
    """Of each set that gives most keys the way that changes fewest words; the largest first, without scraps."""

    def fitness(fit: Fit) -> tuple[int, int]:
        return fit.num_matching, fit.num_named if fit.num_named * 2 > num_keys else 0

    best = max(map(fitness, fits))
    firsts: dict[int, Fit] = {}
    for fit in sorted(fits, key=lambda fit: len(fit.prefix + fit.own_prefix)):
        if fitness(fit) == best:
            firsts.setdefault(id(fit.found), fit)
    ranked = sorted(firsts.values(), key=lambda fit: -len(fit.found.tensors))
    return [fit for fit in ranked if len(fit.found.tensors) * 10 >= len(ranked[0].found.tensors)]


def several(fits: Sequence[Fit]) -> str:
    """The sentence about several sets that fit."""
    labels = [fit.label or "the outermost keys" for fit in fits]
    example = next((fit.label for fit in reversed(fits) if fit.label), "LABEL")
    return (
        f"There are several sets of weights that fit the model ({some(labels)}); "
        f"say which with --weights FILE#LABEL, as FILE#{example}."
    )


def _different(fits: list[Fit], own: OwnKeys) -> list[Fit]:
    """Those whose tensors differ: of equal ones the first."""
    kept: list[Fit] = []
    for fit in fits:
        if not any(_is_same(fit, other, own) for other in kept):
            kept.append(fit)
    return kept


def _is_same(fit: Fit, other: Fit, own: OwnKeys) -> bool:
    keys = own.state.keys() & fit.tensors.keys()
    if keys != own.state.keys() & other.tensors.keys():
        return False
    pairs = ((fit.tensors[key], other.tensors[key]) for key in keys)
    return all(a is b or (isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) and torch.equal(a, b))
               for a, b in pairs)  # fmt: skip


def _passed_over(chosen: Fit, sets: Sequence[StateDict], fits: list[Fit]) -> tuple[str, ...]:
    """Labels of the other sets; without scraps, such as a lone tensor beside the weights."""
    matching = {id(fit.found): fit.num_matching for fit in reversed(fits)}
    return tuple(
        found.label or "the outermost"
        for found in sets
        if not any(found is taken for taken in (chosen.found, *chosen.found.parts))
        and (matching.get(id(found)) or len(found.tensors) > max(1, len(chosen.found.tensors) // 10))
    )
