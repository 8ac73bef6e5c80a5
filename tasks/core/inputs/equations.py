"""Equations between sizes that the module asks for and nobody declared, such as total=past+new.

Of dimensions that it refuses to have varied alone, each is varied together with others: those that must grow along with
it follow from it. What follows from several is their sum, or their product.
"""

import itertools
from collections.abc import Iterator, Mapping

from tasks.core.inputs.probes import dynamic_dims
from tasks.core.inputs.sizes import Refusal, Sizes, traced_sizes
from tasks.core.limits import MAX_JOINT_RUNS
from tasks.core.spec.input_spec import Dim, InputSpec

Slopes = dict[str, dict[str, int]]
"""By how much a dimension grows with each of those that it follows from."""


def with_equations(
    specs: tuple[InputSpec, ...], kept: Sizes, refusal: Refusal
) -> tuple[tuple[InputSpec, ...], tuple[str, ...]]:
    """Turn dimensions into formulas of others where the module asks for it, and say so in a note each.

    Args:
        specs: the inputs, sizes to trace at chosen.
        kept: the dimensions of which the module refuses sizes, with those that it takes while the others are as traced.
        refusal: runs the module at given sizes and says what it raises; empty: nothing.
    """
    dims, notes = dynamic_dims(specs), list[str]()
    # a size of 1 fits any other, by broadcasting
    stuck = [name for name, size in traced_sizes(specs).items() if name in kept and {*kept[name]} <= {size, 1}]
    for name, slopes in _slopes(stuck, dims, refusal).items():
        formula = _formula(name, slopes, traced_sizes(specs))
        if formula and (changed := _in_formula(dims, name, formula)):
            said = f"both may have the name {formula}" if formula in dims else f"--input may say so: {name}={formula}"
            notes.append(f"{name} was taken for {formula}, as the model refuses to have it varied alone; {said}")
            dims |= changed
    found = (
        spec.model_copy(update={"dims": tuple(dims.get(dim.name or "", dim) for dim in spec.dims)}) for spec in specs
    )
    return tuple(found), tuple(notes)


def _slopes(stuck: list[str], dims: Mapping[str, Dim], refusal: Refusal) -> Slopes:
    """What grows with what, the smaller dimensions taken for those that others follow from."""
    traced = {name: dim.size or 0 for name, dim in dims.items()}
    found: Slopes = {}
    free = list[str]()
    num_left = MAX_JOINT_RUNS
    for word in sorted(stuck, key=lambda name: traced[name]):
        others = [name for name in stuck if name not in (word, *free) and traced[name] >= traced[word]]
        if word in found:
            continue
        for case, slopes in _joint_cases(word, others, traced):
            if any(not max(dims[name].low, 1) <= case[name] <= (dims[name].high or case[name]) for name in case):
                continue
            if num_left == 0:
                return found
            num_left -= 1
            if not refusal(case):
                free.append(word)
                for name, slope in slopes.items():
                    found.setdefault(name, {})[word] = slope
                break
    return found


def _joint_cases(
    word: str, others: list[str], traced: Mapping[str, int]
) -> Iterator[tuple[dict[str, int], dict[str, int]]]:
    """Sizes at which one dimension and some others have grown, each with the slopes of these; few at a time first."""
    for step in (1, traced[word], -1):
        for number in range(1, len(others) + 1):
            for group in itertools.combinations(others, number):
                for slopes in itertools.product(*(_possible_slopes(traced[word], traced[name]) for name in group)):
                    by_name = dict(zip(group, slopes, strict=True))
                    grown = {name: traced[name] + slope * step for name, slope in by_name.items()}
                    yield {**traced, word: traced[word] + step, **grown}, by_name


def _possible_slopes(size: int, other: int) -> tuple[int, ...]:
    return (1, other // size) if other // size > 1 else (1,)


def _formula(name: str, slopes: Mapping[str, int], sizes: Mapping[str, int]) -> str:
    """The sum or product that has these slopes and holds at these sizes; empty: none has."""
    if len(slopes) == 2 and all(slope > 1 and slope * sizes[word] == sizes[name] for word, slope in slopes.items()):
        return "*".join(slopes)
    rest = sizes[name] - sum(slope * sizes[word] for word, slope in slopes.items())
    terms = [word if slopes[word] == 1 else f"{slopes[word]}*{word}" for word in sizes if word in slopes]
    return "" if rest < 0 else "+".join([*terms, str(rest)] if rest else terms)


def _in_formula(dims: Mapping[str, Dim], name: str, formula: str) -> dict[str, Dim]:
    """One dimension as a formula, an equal one with the bounds of both; empty where bounds would be lost."""
    old = dims[name]
    derived = Dim(name=name, size=old.size, formula=formula)
    if (old.low, old.high) == (1, None):
        return {name: derived}
    if formula not in dims:
        return {}
    other = dims[formula]
    high = min((end for end in (old.high, other.high) if end is not None), default=None)
    return {name: derived, formula: other.model_copy(update={"low": max(old.low, other.low), "high": high})}
