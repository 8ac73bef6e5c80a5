"""Probes: fresh inputs, drawn from a family at given sizes, the same in every process."""

import math
import zlib
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from tasks.core.arrays import Array
from tasks.core.records.record import Record
from tasks.core.runtime.passes import LEVELS
from tasks.core.spec.input_spec import Dim, InputSpec, Side, derived_dims

BATCH_SIZES = (2, 1, 3, 5)
"""The size to trace at (1 lets exporters freeze it), then one, an odd one and a larger one."""
WIDE_SCALE = 10.0
"""Standard deviation of the wide family: past the clips and saturations of the usual activations."""
MAX_SAMPLE_ROWS = 64
MANY_ELEMENTS = 1 << 14
"""Of the smallest inputs, from which the wide family needs no second row."""


class Probe(Record):
    """The inputs of one call of the module: family and seed of their values, and sizes."""

    family: str
    """normal, range, wide, zeros, sample, large; special, extreme, rows and masks hold values that the module names."""
    seed: int
    sizes: dict[str, int] = {}
    """Size of each dynamic dimension."""
    levels: tuple[str, ...] = ("all",)
    """ONNX Runtime optimisation levels to run it at, of `LEVELS`."""
    optional: bool = False
    """Left out when proving has taken too long."""
    rows: tuple[tuple["Probe", int], ...] = ()
    """Where each row of the batch comes from, a probe and a row of it, so that its float64 answer can be used again;
    empty: the values are drawn."""

    @property
    def key(self) -> tuple[object, ...]:
        """Identifies its arrays: family, seed and sizes."""
        return (self.family, self.seed, tuple(sorted(self.sizes.items())))

    @property
    def sizes_in_words(self) -> str:
        """The size of each dynamic dimension."""
        return ", ".join(f"{name}={size}" for name, size in self.sizes.items()) or "the fixed sizes"


def dynamic_dims(specs: tuple[InputSpec, ...]) -> dict[str, Dim]:
    """The dynamic dimensions by name, those that follow from others left out; sizes are chosen."""
    return {dim.name: dim for spec in specs for dim in spec.dims if dim.name is not None and not dim.formula}


def all_sizes(specs: tuple[InputSpec, ...], sizes: Mapping[str, int]) -> dict[str, int]:
    """Sizes of all dynamic dimensions by name, those that follow from others among them.

    Args:
        specs: the inputs, sizes chosen.
        sizes: of the dimensions that do not; of one that does, if it is to have another one.
    """
    known = {**sizes}
    for name, dim in derived_dims(specs).items():
        known.setdefault(name, dim.size_at(known))
    return known


def batch_name(specs: tuple[InputSpec, ...]) -> str | None:
    """The dynamic dimension that leads the first input, by custom the batch; None: it is no size of its own."""
    return specs[0].dims[0].name if specs and specs[0].dims and not specs[0].dims[0].formula else None


def is_batch_apart(specs: tuple[InputSpec, ...]) -> bool:
    """Does no other size follow from the batch's?"""
    batch = batch_name(specs)
    return all(batch not in dim.words for dim in derived_dims(specs).values())


def has_rows(specs: tuple[InputSpec, ...]) -> bool:
    """Does each input have the batch once, so that batches can be put together from rows?"""
    batch = batch_name(specs)
    once = all([dim.name for dim in spec.dims].count(batch) == 1 for spec in specs)
    return batch is not None and once and is_batch_apart(specs)


def base_family(specs: tuple[InputSpec, ...]) -> str:
    """`normal` where some input is a float without a range, else `range`."""
    return "normal" if any(spec.value_range is None for spec in specs) else "range"


def plan_probes(
    specs: tuple[InputSpec, ...], sizes: Mapping[str, tuple[int, ...]], *, has_sample: bool
) -> tuple[Probe, ...]:
    """Cover each family, size and level at least once.

    Args:
        specs: the inputs, sizes chosen.
        sizes: per dynamic dimension the sizes to prove, the traced one first.
        has_sample: real inputs were given.
    """
    family = base_family(specs)
    batch = batch_name(specs)
    cases = size_cases(sizes, batch)
    traced = cases[0]
    smallest = cases[1] if len(cases) > 1 else traced
    rows_fit = has_rows(specs)
    # the file is tried without optimisation right after its export, at the other sizes if there are any
    first_levels: tuple[str, ...] = ("all",) if len(cases) > 1 else LEVELS
    probes = [
        Probe(family=family, seed=1, sizes=traced, levels=first_levels),
        Probe(family=family, seed=2, sizes=traced),
    ]
    for seed, case in enumerate(cases[1:], start=3):
        large = batch is not None and case[batch] >= max(BATCH_SIZES)
        levels = LEVELS if seed == 3 else ("all",) if large else ("off", "all")
        probe = Probe(family=family, seed=seed, sizes=case, levels=levels, optional=large)
        if batch is not None and rows_fit and case == {**traced, batch: case[batch]} and case[batch] > 1:
            probe = probe.model_copy(update={"rows": _rows_for(probe, probes, batch)})
        probes.append(probe)
    # one row of a picture has wide values enough
    num_elements = sum(math.prod(dim.size_at(all_sizes(specs, smallest)) for dim in spec.dims) for spec in specs)
    sizes_of_wide = smallest if num_elements >= MANY_ELEMENTS else traced
    probes.insert(-1 if probes[-1].optional else len(probes), Probe(family="wide", seed=20, sizes=sizes_of_wide))
    probes.insert(-1 if probes[-1].optional else len(probes), Probe(family="zeros", seed=21, sizes=smallest))
    if has_sample:
        probes.insert(2, Probe(family="sample", seed=0))
    return tuple(probes)


def draw(
    specs: tuple[InputSpec, ...], probe: Probe, *, first: Mapping[str, bool] = MappingProxyType({})
) -> dict[str, Array]:
    """Draw the arrays of a probe of any family but `sample`, by input name and in its dtype, bfloat16 as float32.

    Args:
        specs: the inputs, sizes chosen.
        probe: family, seed and sizes, which determine the values.
        first: by name of a mask, what the first element of each row is; by default True where it is bool.
    """
    if probe.rows:
        return _put_together(specs, probe, first)
    arrays: dict[str, Array] = {}
    sizes = all_sizes(specs, probe.sizes)
    for spec in specs:
        shape = tuple(dim.size_at(sizes) for dim in spec.dims)
        seed = zlib.crc32(f"{probe.family}/{probe.seed}/{spec.name}/{shape}".encode())
        drawn = np.asarray(_draw_input(spec, probe.family, shape, generator=np.random.default_rng(seed)))
        arrays[spec.name] = padded(drawn, spec.padded) if spec.padded else _first_set(drawn, spec, first)
    return arrays


def padded(mask: Array, side: Side) -> Array:
    """A mask with as many ones in each row of its last axis, at least one, which are together.

    Args:
        mask: any integers or truth values.
        side: that of the zeros; of `either` rows are padded on the right and on the left in turns.
    """
    counts = np.maximum((mask != 0).sum(axis=-1, keepdims=True), 1)
    right = np.arange(mask.shape[-1]) < counts
    if side == "right":
        return np.asarray(right, dtype=mask.dtype)
    turns = np.arange(counts.size).reshape(counts.shape) % 2 == 1
    return np.asarray(np.where(turns | (side == "left"), right[..., ::-1], right), dtype=mask.dtype)


def size_cases(sizes: Mapping[str, tuple[int, ...]], batch: str | None) -> list[dict[str, int]]:
    """Combine the sizes of all dimensions into few cases: as many as the longest list, the traced sizes first.

    Shorter lists start again from their second size. Each further dimension is one size ahead of the one before, so
    that height and width differ somewhere. A large batch has the other dimensions as traced, unless a size would be
    lost by that: its rows then need no float64 run.

    Args:
        sizes: by dynamic dimension, the traced size first.
        batch: name of the dimension that leads the first input; None: it is fixed.
    """
    num_cases = max((len(values) for values in sizes.values()), default=1)
    cases = []
    for index in range(num_cases):
        case = {}
        for ahead, (name, (traced, *rest)) in enumerate(sizes.items()):
            case[name] = traced if index == 0 or not rest else rest[(index - 1 + ahead) % len(rest)]
        cases.append(case)
    for index, case in enumerate(cases):
        if batch is not None and case[batch] >= max(BATCH_SIZES):
            plainer = [*cases[:index], {**cases[0], batch: case[batch]}, *cases[index + 1 :]]
            if all({case[name] for case in plainer} == set(values) for name, values in sizes.items()):
                cases = plainer
    return cases


def _rows_for(probe: Probe, probes: list[Probe], batch: str) -> tuple[tuple[Probe, int], ...]:
    """Rows of the probes that were drawn at the same other sizes, last ones first, again where there are too few."""
    same = [p for p in probes if not p.rows and {**p.sizes, batch: probe.sizes[batch]} == probe.sizes]
    rows = [(source, row) for source in same for row in range(source.sizes[batch])]
    return tuple(rows[-index % len(rows)] for index in range(1, probe.sizes[batch] + 1))


def _put_together(specs: tuple[InputSpec, ...], probe: Probe, first: Mapping[str, bool]) -> dict[str, Array]:
    """Concatenate the rows of other probes."""
    drawn = {
        source.key: draw(specs, source, first=first)
        for source in {source.key: source for source, _ in probe.rows}.values()
    }
    sources = [(drawn[source.key], row) for source, row in probe.rows]
    batch = batch_name(specs)
    arrays = {}
    for spec in specs:
        axis = [dim.name for dim in spec.dims].index(batch)
        rows = [arrays[spec.name].take([row], axis=axis) for arrays, row in sources]
        arrays[spec.name] = _first_set(np.concatenate(rows, axis=axis), spec, first)
    return arrays


def _draw_input(spec: InputSpec, family: str, shape: tuple[int, ...], *, generator: np.random.Generator) -> Array:
    dtype = "float32" if spec.dtype == "bfloat16" else spec.dtype
    bounds = spec.value_range
    if family == "zeros":
        return np.full(shape, bounds[0] if bounds else 0, dtype=dtype)
    if bounds is None:
        scale = WIDE_SCALE if family == "wide" else 1.0
        return (generator.standard_normal(shape) * scale).astype(dtype)
    low, high = bounds[0] + 0.0, bounds[1] + 0.0  # no -0.0, which numpy takes for less than 0.0
    if spec.dtype in ("float32", "float64", "float16", "bfloat16"):
        values = generator.uniform(low, high, shape)
    else:
        values = generator.integers(int(low), int(high), shape, endpoint=True).astype("float64")
    if family == "wide":
        extremes = np.where(generator.random(shape) < 0.5, low, high)
        values = np.where(generator.random(shape) < 0.5, extremes, values)
    return values.astype(dtype)


def _first_set(array: Array, spec: InputSpec, first: Mapping[str, bool]) -> Array:
    """Set the first element of each row of a mask: one that hides a row whole gives NaN or raises in PyTorch, too."""
    if spec.padded:
        return array
    value = first.get(spec.name, True if spec.dtype == "bool" else None)
    if value is not None and spec.value_range and spec.value_range[value] == value and array.ndim and array.shape[-1]:
        array[..., 0] = value
    return array
