"""What a proven file and a variant of it answer to the same samples."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from tasks.core.arrays import Array, error_of, ratio, rms
from tasks.core.errors import ExportError
from tasks.core.runtime import sessions
from tasks.core.variants.data import Batch

Outputs = list[Array]


def answers(file: Path | bytes, batches: Iterable[Batch], *, level: str = "all") -> Iterator[Outputs]:
    """A file's outputs for batch after batch; floats as float32.

    Args:
        file: path, or a serialised ModelProto; its inputs may be half precision.
        batches: of samples.
        level: of graph optimisation.

    Raises:
        ExportError: ONNX Runtime refuses the file.
    """
    try:
        found = sessions.answers(file, (batch.arrays for batch in batches), level=level)
    except sessions.SessionError as error:
        raise ExportError(f"ONNX Runtime refuses the variant: {error}") from error
    for outputs in found:
        yield [output.astype(np.float32) if output.dtype.kind == "f" else output for output in outputs]


def in_dtypes(batches: Sequence[Batch], dtypes: Mapping[str, str]) -> list[Batch]:
    """The samples as a file takes them.

    Args:
        batches: as the proven file takes them.
        dtypes: of the file's inputs, by name.
    """
    return [Batch({name: array.astype(dtypes[name]) for name, array in b.arrays.items()}, b.labels) for b in batches]


def relative_error(found: Sequence[Outputs], wanted: Sequence[Outputs]) -> float:
    """Root mean square of the difference over that of the wanted outputs; the worst of the outputs that are floats.

    Args:
        found: outputs a batch.
        wanted: likewise, of equal shapes.

    Returns:
        Infinity where one is not finite and the other is.
    """
    worst = 0.0
    for index, first in enumerate(wanted[0]):
        if first.dtype.kind == "f":
            pairs = [(a[index].ravel(), b[index].ravel()) for a, b in zip(found, wanted, strict=True)]
            values, scale = (np.concatenate(parts).astype(np.float64) for parts in zip(*pairs, strict=True))
            if not np.array_equal(np.isfinite(values), np.isfinite(scale)):
                return math.inf
            worst = max(worst, ratio(rms(error_of(values, scale)), rms(scale)))
    return worst
