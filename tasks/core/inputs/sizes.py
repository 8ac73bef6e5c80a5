"""Sizes of dynamic dimensions: one to trace at, and a few to prove."""

from collections.abc import Callable, Mapping

from tasks.core.arrays import Array
from tasks.core.errors import SpecError
from tasks.core.inputs.probes import BATCH_SIZES, all_sizes, batch_name, dynamic_dims, size_cases
from tasks.core.spec.input_spec import Dim, InputSpec, derived_dims

LARGE_SIZE = 32
"""Dimensions traced at a larger size, as a picture's height, are not tried at 1 and 2: few modules take them."""
MAX_BATCH = 32
"""Upper bound of a batch up to which it is run."""
MAX_GROWTH = 4
"""Multiple of the traced size up to which an upper bound is run."""

Sizes = dict[str, tuple[int, ...]]
"""By dimension."""
Refusal = Callable[[dict[str, int]], str]
"""What the module raises at these sizes, in one line; empty: it runs."""


def with_sizes(specs: tuple[InputSpec, ...], sample: Mapping[str, Array] | None) -> tuple[InputSpec, ...]:
    """Give every dynamic dimension one size to trace at; a SpecError where it has two, or none.

    Args:
        specs: the inputs as declared.
        sample: real inputs, whose sizes are taken where none is declared; None: there are none.
    """
    chosen: dict[str, Dim] = {}
    derived = derived_dims(specs)
    batch = batch_name(specs)
    for spec in specs:
        for dim in spec.dims:
            if dim.name is None or dim.name in derived:
                continue
            old = chosen.get(dim.name, dim)
            if old.size and dim.size and old.size != dim.size:
                raise SpecError(f"The dimension {dim.name} has two sizes, {old.size} and {dim.size}; give one.")
            high = min((h for h in (old.high, dim.high) if h is not None), default=None)
            # as a Dim checks itself, bounds that exclude each other or the size are refused here
            chosen[dim.name] = Dim(name=dim.name, size=dim.size or old.size, low=max(old.low, dim.low), high=high)
    for name, dim in chosen.items():
        size = dim.size or (BATCH_SIZES[0] if name == batch else _size_in_sample(name, specs, sample))
        if size is None:
            raise SpecError(f"The dimension {name} needs a size to trace at; write {name}=SIZE, e.g. {name}=16.")
        size = min(max(size, 2, dim.low), dim.high or max(size, 2, dim.low))
        chosen[name] = dim.model_copy(update={"size": size})
    sizes = all_sizes(specs, {name: dim.size or 0 for name, dim in chosen.items()})
    chosen |= {name: dim.model_copy(update={"size": sizes[name]}) for name, dim in derived.items()}
    return tuple(s.model_copy(update={"dims": tuple(chosen[d.name] if d.name else d for d in s.dims)}) for s in specs)


def _size_in_sample(name: str, specs: tuple[InputSpec, ...], sample: Mapping[str, Array] | None) -> int | None:
    named = [(spec.name, axis) for spec in specs for axis, dim in enumerate(spec.dims) if dim.name == name]
    shapes = {given: array.shape for given, array in (sample or {}).items()}
    return next((shapes[given][axis] for given, axis in named if axis < len(shapes.get(given, ()))), None)


def traced_sizes(specs: tuple[InputSpec, ...]) -> dict[str, int]:
    """The size to trace at by dynamic dimension."""
    return {name: dim.size or 0 for name, dim in dynamic_dims(specs).items()}


def sizes_to_prove(specs: tuple[InputSpec, ...], refusal: Refusal) -> tuple[Sizes, Sizes]:
    """Choose the sizes of each dimension to prove, the traced one first; and tell those that the module refuses.

    The cases that will be proven are tried; only if the module refuses one is each dimension tried alone.

    Args:
        specs: the inputs, sizes to trace at chosen.
        refusal: runs the module at given sizes and says what it raises; empty: nothing.
    """
    first = {name: _sizes(specs, name, lambda _: "")[0] for name in traced_sizes(specs)}
    batch = batch_name(specs)
    cases = size_cases(first, batch)[1:]
    # what runs at two other batches runs at the largest, too: the dearest run is saved
    tried = [case for case in cases if case.get(batch or "") != max(BATCH_SIZES) or len(cases) < len(BATCH_SIZES) - 1]
    if not any(refusal(case) for case in tried):
        return first, {}
    found = {name: _sizes(specs, name, refusal) for name in first}
    return {name: kept for name, (kept, _) in found.items()}, {name: no for name, (_, no) in found.items() if no}


def _sizes(specs: tuple[InputSpec, ...], name: str, refusal: Refusal) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Sizes of one dimension that the module takes while the others are as traced, and those that it refuses."""
    traced, dim, batch = traced_sizes(specs), dynamic_dims(specs)[name], batch_name(specs)
    size, kept, refused = traced[name], list[int](), list[int]()
    for candidates in _candidates(dim, size, is_batch=name == batch):
        for candidate in candidates:
            if candidate in (size, *kept, *refused) or not max(dim.low, 1) <= candidate <= (dim.high or candidate):
                continue
            is_safe = candidates == [max(BATCH_SIZES)] and len(kept) > 1
            if not is_safe and refusal({**traced, name: candidate}):
                refused.append(candidate)
                continue
            kept.append(candidate)
            break
    return (size, *kept), tuple(refused)


def _candidates(dim: Dim, size: int, *, is_batch: bool) -> list[list[int]]:
    """Lists of sizes to prove beside the traced one; of each list the first that the module takes.

    A picture's sides are proven at a smaller, odd size and at one just above the traced: the time goes with their
    product, and a file may be wrong only beyond what was traced.
    """
    if is_batch and (batches := [[s] for s in BATCH_SIZES if s != size and dim.low <= s <= (dim.high or s)]):
        return [*batches, [dim.high]] if dim.high is not None and dim.high <= MAX_BATCH else batches
    near = [size + 1, size - 1, size + 8, size + 16, size + 32, size * 2]
    far = [size // 2 + (size // 2) % 2, size * 2, size + 64, size + 2]
    if size > LARGE_SIZE:
        near = [size * 3 // 4 | 1, size - 1, size + 1, *(size - step for step in (8, 16, 32)), *near[2:]]
        far = [size + 2, size + 8, size + 16, size + 32, size + 64, size * 2, far[0]]
    smallest = [[1], [2]] if size <= LARGE_SIZE else []
    bounds = [[dim.low]] if dim.low > 2 else []
    bounds += [[dim.high]] if dim.high is not None and dim.high <= MAX_GROWTH * size else []
    return [near, far, *smallest, *bounds]
