"""Sizes that break a condition on sizes: arithmetic, nothing is run."""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tasks.core.forward.conditions import Condition

Case = dict[str, int]
"""The size of each dynamic dimension."""
Allowed = Callable[[str, int], bool]
"""May a dimension have a size?"""
_NUM_PAIRED = 60
"""Sizes of each of two dimensions that are tried together."""
_MAX_PAIRS = 48
"""Cases that are kept of them."""


def breaking_cases(
    condition: "Condition", sizes: Case, allowed: Allowed, *, keeping: "tuple[Condition, ...]" = ()
) -> list[Case]:
    """Cases that break a condition, with one dimension changed, or two where one can't do it.

    Args:
        condition: to break.
        sizes: that it holds at.
        allowed: the bounds.
        keeping: conditions that had better hold.
    """
    found = [*_singly(condition, sizes, allowed)]
    if not found:
        return [*itertools.islice(_in_pairs(condition, sizes, allowed), _MAX_PAIRS)]
    if any(all(not other.is_broken_at(case) for other in keeping) for case in found):
        return found
    lost = ((replace(other, holds=not other.holds), case) for case in found for other in keeping)
    mended = (_singly(other, case, allowed) for other, case in lost if not other.is_broken_at(case))
    return [*filter(condition.is_broken_at, itertools.chain(*mended)), *found]


def _singly(condition: "Condition", sizes: Case, allowed: Allowed) -> Iterator[Case]:
    for name in condition.names:
        values = _values(name, condition, sizes)
        kept = _nearest(_breaks(condition, sizes, name), sizes[name], [size for size in values if allowed(name, size)])
        yield from ({**sizes, name: size} for size in kept if allowed(name, size))


def _in_pairs(condition: "Condition", sizes: Case, allowed: Allowed) -> Iterator[Case]:
    for names in itertools.combinations(condition.names, 2):
        values = [_values(name, condition, sizes) for name in names]
        near = [_thinned([v for v in some if allowed(n, v)], sizes[n]) for n, some in zip(names, values, strict=True)]
        changed = ({**sizes, **dict(zip(names, pair, strict=True))} for pair in itertools.product(*near))
        yield from filter(condition.is_broken_at, changed)


def _breaks(condition: "Condition", sizes: Case, name: str) -> Callable[[int], bool]:
    """Tells whether a size of one dimension breaks the condition, beside those of the others."""
    return lambda size: condition.is_broken_at({**sizes, name: size})


def _values(name: str, condition: "Condition", sizes: Case) -> list[int]:
    """Sizes of one dimension at which a condition may change: small, near, equal to others, made of its numbers."""
    size, numbers = sizes[name], sorted(condition.numbers)[:8]
    edges = {*condition.edges(name, sizes), *numbers, *(other for key, other in sizes.items() if key != name)}
    edges |= {one * other for one, other in itertools.combinations(numbers, 2)} | {size * f for f in range(2, 9)}
    wanted = {*range(1, 65), *range(size - 40, size + 41), *(2**power for power in range(6, 41))}
    wanted |= {edge + step for edge in edges for step in (-1, 0, 1)}
    return sorted(wanted - {size})


def _nearest(is_broken: Callable[[int], bool], size: int, candidates: list[int]) -> set[int]:
    """Of the sizes that break a condition the first above and below, and the first that keep a remainder."""
    kept, breaking = set[int](), [other for other in candidates if is_broken(other)]
    for sign in (1, -1):
        side = sorted((other for other in breaking if (other - size) * sign > 0), key=lambda other: abs(other - size))
        if not side:
            continue
        good, bad = size, side[0]
        while abs(bad - good) > 1:  # between two candidates
            middle = (good + bad) // 2
            good, bad = (good, middle) if is_broken(middle) else (middle, bad)
        kept |= {bad, *side[:2]}
        for step in (2, 4, 8, 16, 32, 64):  # a module may take multiples only
            first = math.ceil(abs(bad - size) / step)
            kept |= {size + sign * step * first * factor for factor in (1, 2)}
    return {other for other in kept if other > 0 and is_broken(other)}


def _thinned(values: list[int], size: int) -> list[int]:
    """The sizes nearest to one, nearest first."""
    return sorted(values, key=lambda value: abs(value - size))[:_NUM_PAIRED]
