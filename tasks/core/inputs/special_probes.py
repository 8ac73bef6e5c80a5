"""Probes with the values that a module treats in a way of their own, and with each row of its small tables."""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tasks.core.arrays import Array
from tasks.core.inputs.probes import Probe, draw, dynamic_dims
from tasks.core.inputs.special_values import Special, Table
from tasks.core.spec.input_spec import FLOAT_DTYPES, InputSpec

EXTREME = 1e3
"""Numbers beyond this have a family of their own: beside their errors those of others would not be seen."""
MAX_ROWS = 16
"""Of the batch of a probe with special values."""
MAX_PARTS = 4
"""Probes of one family, where one can't hold all."""
MAX_TABLE = 4096
"""Tables with more rows than this are not covered whole."""
MAX_COVERING = 2**16
"""Elements of the inputs of a probe that covers tables."""


@dataclass(frozen=True)
class Specials:
    """What is special about the inputs of a module, within the ranges that were declared."""

    specs: tuple[InputSpec, ...] = ()
    """The inputs, sizes chosen."""
    values: tuple[Special, ...] = ()
    tables: tuple[Table, ...] = ()
    """Those that are small enough to be covered whole."""
    large_tables: tuple[Table, ...] = ()

    def plan(self, planned: Sequence[Probe], *, batch: str | None) -> Iterator[Probe]:
        """Plan probes with special values, and with all rows of tables of which the planned ones leave some out.

        Args:
            planned: other probes, the first at the traced sizes.
            batch: name of the dimension of which any size will do; None: all sizes are the traced ones.
        """
        for family in ("special", "extreme"):
            most = max(len(self._of(family, index)) for index in range(len(self.specs)))
            yield from self._parts(family, planned[0], batch, num_rows=3 * most, max_rows=MAX_ROWS)
        if not self.tables:
            return
        drawn = [draw(self.specs, probe) for probe in planned if probe.family != "sample" and not probe.optional]
        needed = max(self._num_rows_needed(table, drawn) for table in self.tables)
        first = self._rows(0, drawn[0][self.specs[0].name])
        row_size = max(1, sum(array.size for array in drawn[0].values()) // len(first))
        for probe in self._parts("rows", planned[0], batch, num_rows=needed, max_rows=MAX_COVERING // row_size):
            yield probe.model_copy(update={"optional": True})

    def set_in(self, arrays: dict[str, Array], probe: Probe) -> None:
        """Set special values in the arrays of a probe: here and there, from somewhere to the end of a row, all along.

        Args:
            arrays: by input name, as drawn; they are changed.
            probe: one of those planned here.
        """
        if probe.family not in ("special", "extreme", "rows"):
            return
        generator = np.random.default_rng(zlib.crc32(f"{probe.family}/{probe.seed}".encode()))
        for index, spec in enumerate(self.specs):
            rows, found = self._rows(index, arrays[spec.name]), self._of(probe.family, index)
            for number in range(len(rows)):
                turn = probe.seed * len(rows) + number
                if found:
                    rows[number] = self._with_values(rows[number], number, found, turn=turn, generator=generator)
                for table in self.tables:
                    if probe.family == "rows" and table.input == index:
                        rows[number] = self._looking_up(rows[number], number, table, turn=turn)

    def looking_up(self, address: int, rows: Sequence[int], arrays: dict[str, Array]) -> dict[str, Array]:
        """Arrays in which elements of an input look up rows of a table in turns; empty where none can.

        Args:
            address: of the table in memory.
            rows: numbers of rows.
            arrays: by input name, in the traced sizes; they stay as they are.
        """
        for table in (*self.tables, *self.large_tables):
            spec = self.specs[table.input]
            at, array = table.at, arrays[spec.name].copy()
            if table.address == address and at.any() and at.shape == array.shape:
                numbers = table.first[at] + np.resize(rows, int(at.sum()))
                low, high = spec.value_range or (-np.inf, np.inf)
                array[at] = np.where((numbers >= low) & (numbers <= high), numbers, array[at])
                return {**arrays, spec.name: array}
        return {}

    def _of(self, family: str, index: int) -> list[Special]:
        """The special values of one input that belong to a family."""
        is_float = self.specs[index].dtype in FLOAT_DTYPES
        found = [item for item in self.values if item.input == index]
        return [item for item in found if family == ("extreme" if is_float and _is_extreme(item) else "special")]

    def _parts(self, family: str, first: Probe, batch: str | None, *, num_rows: int, max_rows: int) -> Iterator[Probe]:
        """Probes of one family that have so many rows together, as far as few probes can."""
        sizes = first.sizes
        size = (self.specs[0].dims[0].size or 1) if self.specs[0].dims else 1
        if batch is not None:
            dim = dynamic_dims(self.specs)[batch]
            size = max(min(num_rows, max(max_rows, sizes[batch])), sizes[batch], dim.low)
            sizes = {**sizes, batch: min(size, dim.high or size)}
            size = sizes[batch]
        for part in range(min(-(-num_rows // size), MAX_PARTS)):
            yield Probe(family=family, seed=part, sizes=sizes)

    def _num_rows_needed(self, table: Table, drawn: Sequence[dict[str, Array]]) -> int:
        """How many rows of the batch look up all rows of a table that may be; 0 where the drawn ones do."""
        first, at = self._row(table.first, table, 0), self._row(table.at, table, 0)
        if not at.any():
            return 0
        low, count = self._lookups(first[at], table)
        seen: set[float] = set()
        for arrays in drawn:
            for row in self._rows(table.input, arrays[self.specs[table.input].name]):
                if row.shape == at.shape:
                    seen.update((row[at] - first[at]).tolist())
        wanted = {number for a, n in zip(low, count, strict=True) for number in np.arange(a, a + n).tolist()}
        return 0 if wanted <= seen else int(-(-count.max() // _num_abreast(first[at])))

    def _with_values(
        self, row: Array, number: int, found: Sequence[Special], *, turn: int, generator: np.random.Generator
    ) -> Array:
        """Set special values in one row; which ones and where goes in turns."""
        choice = generator.integers(0, 2 * len(found), row.shape)
        start = generator.integers(1, len(row)) if row.ndim and len(row) > 1 else 0
        for index, item in enumerate(found):
            at = self._row(item.at, item, number)
            if turn % 3 == 0:
                at = at & (choice == index)
            elif turn // 3 % len(found) != index:
                continue
            elif turn % 3 == 1 and row.ndim:
                at = at & (np.arange(len(row)) >= start).reshape(-1, *[1] * (row.ndim - 1))
            row = np.where(at, self._row(item.values, item, number), row).astype(row.dtype)
        return row

    def _looking_up(self, row: Array, number: int, table: Table, *, turn: int) -> Array:
        """Look up the next rows of a table, one an element."""
        first, at = self._row(table.first, table, number), self._row(table.at, table, number)
        low, count = self._lookups(first[at], table)
        if not at.any() or not (count > 0).all():
            return row
        abreast = _num_abreast(first[at])
        turns = turn * abreast + np.arange(len(count)) % abreast
        row = np.array(row)
        row[at] = first[at] + low + turns % count
        return row

    def _lookups(self, first: Array, table: Table) -> tuple[Array, Array]:
        """By element: the least row that a legal value looks up, and how many there are."""
        lowest, highest = self.specs[table.input].value_range or (0.0, 0.0)
        low = np.maximum(0, lowest - first)
        return low, np.maximum(np.minimum(table.num_rows - 1, highest - first) - low + 1, 0)

    def _rows(self, index: int, array: Array) -> Array:
        """A view of an input's array whose first axis is the batch, of length 1 where the input has none."""
        leading = [spec.dims[0] if spec.dims else None for spec in (self.specs[0], self.specs[index])]
        return array if leading[0] is not None and leading[0] == leading[1] else array[None]

    def _row(self, array: Array, item: Special | Table, number: int) -> Array:
        """One row of an array in the traced shape, from the first one again where there are too few."""
        rows = self._rows(item.input, array)
        return np.asarray(rows[number % len(rows)])


def legal(values: Sequence[Special], tables: Sequence[Table], specs: tuple[InputSpec, ...]) -> Specials:
    """Keep what lies within the declared ranges, once.

    Args:
        values: as a run of the module told.
        tables: likewise.
        specs: the inputs, sizes chosen.
    """
    kept: dict[tuple[object, ...], Special] = {}
    for item in values:
        spec, at = specs[item.input], item.at
        numbers = item.values if spec.dtype in FLOAT_DTYPES else np.floor(item.values)
        if spec.value_range is not None:
            at = at & (numbers >= spec.value_range[0]) & (numbers <= spec.value_range[1])  # NaN is outside
        elif spec.dtype == "float16":
            at = at & ~(np.isfinite(numbers) & (np.abs(numbers) > np.finfo(np.float16).max))
        if spec.dtype != "bool" and not spec.padded and at.any():
            key = item.input, np.where(at, numbers, 0.0).tobytes(), at.tobytes()
            kept.setdefault(key, Special(item.input, numbers, at))
    numbered = {index for index, spec in enumerate(specs) if spec.value_range and not spec.padded}
    ordered = sorted((table for table in tables if table.input in numbered), key=lambda table: table.num_rows)
    small = tuple(table for table in ordered if table.num_rows <= MAX_TABLE)
    return Specials(specs, tuple(kept.values()), small, tuple(ordered[len(small) :]))


def _is_extreme(item: Special) -> bool:
    numbers = item.values[item.at]
    return bool(np.isinf(numbers).any() or (np.abs(numbers) > EXTREME).any())


def _num_abreast(first: Array) -> int:
    """How many elements look up rows of one table in turns; each has its own turns where offsets differ."""
    return len(first) if np.ptp(first) == 0 else 1
