"""Samples to calibrate and to evaluate with: read batch by batch, hashed, and told apart from each other."""

import hashlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tasks.core.arrays import Array
from tasks.core.errors import AssayError, SpecError, one_line
from tasks.core.inputs.samples import read_sample
from tasks.core.records.preprocessing import Preprocessing
from tasks.core.records.steps import TensorType
from tasks.core.records.variants import DataRecord
from tasks.core.syntax import DATA_SYNTAX
from tasks.core.variants.pictures import BATCH_ROWS, are_pictures, read_pictures

LABELS = "labels"


@dataclass(frozen=True)
class Batch:
    """Some samples."""

    arrays: Mapping[str, Array]
    """By input name, rows first."""
    labels: Array | None
    """Number of the right class of each row."""

    @property
    def num_samples(self) -> int:
        """Rows."""
        return len(next(iter(self.arrays.values())))

    def rows(self, number: int, *, start: int = 0) -> "Batch":
        """Some of the samples.

        Args:
            number: how many.
            start: the first.
        """
        part = slice(start, start + number)
        labels = None if self.labels is None else self.labels[part]
        return Batch({name: array[part] for name, array in self.arrays.items()}, labels)


class Data:
    """Samples that can be gone through more than once, at most 64 at a time in memory."""

    def __init__(self, text: str, inputs: Sequence[TensorType], preprocessing: Preprocessing | None = None) -> None:
        """Go through all samples once: they must fit the inputs, and are hashed.

        Args:
            text: `.npz`, folder of `.npz` or of pictures, or `file.py:function`.
            inputs: of the file that they are for.
            preprocessing: of pictures, unless their folder declares it.

        Raises:
            SpecError: there are none, or they do not fit.
        """
        self._text, self.inputs = text, tuple(inputs)
        self._source = _source(text, inputs, preprocessing or Preprocessing())
        digest, rows, has_labels = hashlib.sha256(), list[bytes](), set[bool]()
        for batch in self._read():
            has_labels.add(batch.labels is not None)
            for row, label in _hashed(batch):
                rows.append(row)
                digest.update(row + label)
        if not rows:
            raise SpecError(f"There is no sample in {text}; {DATA_SYNTAX}.")
        if len(has_labels) > 1:
            raise SpecError(f"Some samples of {text} have {LABELS} and others have none; give all or none.")
        self._rows = frozenset(rows)
        origin = text.rstrip("/").rpartition("/")[2]
        self.record = DataRecord(
            origin=origin, sha256=digest.hexdigest(), num_samples=len(rows), has_labels=has_labels.pop()
        )

    def __iter__(self) -> Iterator[Batch]:
        """Batches of at most 64 samples; a SpecError where they are others than when they were hashed."""
        digest = hashlib.sha256()
        for batch in self._read():
            for row, label in _hashed(batch):
                digest.update(row + label)
            yield batch
        if digest.hexdigest() != self.record.sha256:
            raise SpecError(
                f"{self._text} gives other samples when it is gone through again, so that files can't be compared on "
                f"them; let it draw from a fixed seed."
            )

    def _read(self) -> Iterator[Batch]:
        for arrays, labels in self._source():
            yield from _batches(arrays, labels, inputs=self.inputs, text=self._text)

    def check_apart(self, other: "Data") -> None:
        """A SpecError where samples are in the other data, too: a variant is good on what its ranges come from."""
        if shared := len(self._rows & other._rows):
            raise SpecError(
                f"{shared} samples of {self.record.origin} are in {other.record.origin}, too; evaluate on samples that "
                f"did not calibrate."
            )


def _hashed(batch: Batch) -> Iterator[tuple[bytes, bytes]]:
    """Of each sample the SHA-256 of its arrays, and its label as text."""
    for index in range(batch.num_samples):
        row = hashlib.sha256()
        for name, array in sorted(batch.arrays.items()):
            row.update(name.encode() + np.ascontiguousarray(array[index]).tobytes())
        yield row.digest(), b"" if batch.labels is None else str(batch.labels[index]).encode()


def _source(
    text: str, inputs: Sequence[TensorType], preprocessing: Preprocessing
) -> Callable[[], Iterator[tuple[Mapping[str, Any], Any]]]:
    """What goes through the arrays and labels, as they come."""
    path, _, function = text.partition(".py:")
    if function:
        return _calls(Path(f"{path}.py").expanduser(), function)
    place = Path(text).expanduser()
    if are_pictures(place):
        return partial(read_pictures, place, inputs, preprocessing)
    files = sorted(place.glob("*.npz")) if place.is_dir() else [place]
    if place.is_dir() and not files:
        raise SpecError(f"There is no .npz and no picture in {place}; {DATA_SYNTAX}.")
    if not place.exists():
        raise SpecError(f"There are no samples at {text}; {DATA_SYNTAX}.")

    def read() -> Iterator[tuple[Mapping[str, Any], Any]]:
        for file in files:
            arrays = read_sample(file)
            labels = arrays.pop(LABELS, None)
            yield arrays, labels

    return read


def _calls(path: Path, name: str) -> Callable[[], Iterator[tuple[Mapping[str, Any], Any]]]:
    """A generator function of the user's."""
    if not path.is_file():
        raise SpecError(f"There is no file {path}; {DATA_SYNTAX}.")
    spec = importlib.util.spec_from_file_location(f"assay_data_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise SpecError(f"{path.name} is no Python file; {DATA_SYNTAX}.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
        function = getattr(module, name)
    except Exception as error:  # the user's code may raise anything
        raise SpecError(f"{path.name}:{name} can't be loaded ({one_line(error)}).") from error

    def read() -> Iterator[tuple[Mapping[str, Any], Any]]:
        try:
            for item in function():
                yield item if isinstance(item, tuple) else (item, None)
        except AssayError:
            raise
        except Exception as error:  # likewise
            raise SpecError(f"{path.name}:{name} raises {one_line(error)}; {DATA_SYNTAX}.") from error

    return read


def _batches(arrays: Mapping[str, Any], labels: Any, *, inputs: Sequence[TensorType], text: str) -> Iterator[Batch]:
    """Cut to at most 64 rows, in the dtypes of the inputs; a SpecError where they do not fit."""
    wanted = [value.name for value in inputs]
    if sorted(arrays) != sorted(wanted):
        raise SpecError(f"{text} has {', '.join(sorted(arrays))}, but the inputs are {', '.join(wanted)}.")
    known = {value.name: _fitting(np.asarray(arrays[value.name]), value, text) for value in inputs}
    num_rows = {len(array) for array in known.values()} | ({len(labels)} if labels is not None else set())
    if len(num_rows) > 1:
        raise SpecError(f"The arrays of {text} have {', '.join(map(str, sorted(num_rows)))} rows; give each as many.")
    for start in range(0, num_rows.pop(), BATCH_ROWS):
        rows = slice(start, start + BATCH_ROWS)
        part = None if labels is None else np.asarray(labels)[rows]
        yield Batch({name: array[rows] for name, array in known.items()}, part)


def _fitting(array: Array, value: TensorType, text: str) -> Array:
    fits = array.ndim == len(value.dims) and array.ndim > 0
    fits &= all(isinstance(dim, str) or size == dim for size, dim in zip(array.shape, value.dims, strict=False))
    if not fits:
        raise SpecError(f"{value.name} of {text} is {array.dtype}{list(array.shape)}, but the file takes {value}.")
    if array.dtype.kind == "f" and value.dtype.startswith(("int", "uint", "bool")):
        raise SpecError(f"{value.name} of {text} is {array.dtype}, but the file takes {value.dtype}.")
    return array.astype(value.dtype, copy=False)
