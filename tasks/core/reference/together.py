"""Several probes answered by one run of all their rows: most of a run of a large module is spent on its weights."""

from collections.abc import Iterator, Sequence

import numpy as np

from tasks.core.arrays import EPS32, Array, error_of, ratio, rms
from tasks.core.inputs.inputs import Inputs
from tasks.core.inputs.probes import Probe, has_rows
from tasks.core.limits import MAX_JOINT_ELEMENTS, MAX_JOINT_ROWS, MIN_JOINT_ROWS, ROW_LIMIT

Answer = list[Array]


class Batch:
    """Probes of one size but for the batch, whose rows are run together."""

    def __init__(self, probes: Sequence[Probe], inputs: Inputs) -> None:
        """Take probes that `batches` put together."""
        self.probes = tuple(probes)
        self._sizes = [inputs.batch_size(probe) or 0 for probe in probes]

    def arrays(self, inputs: Inputs) -> dict[str, Array]:
        """All rows, by input name.

        Args:
            inputs: of the module.
        """
        each = [inputs.arrays(probe) for probe in self.probes]
        axes = {spec.name: [dim.name for dim in spec.dims].index(inputs.batch) for spec in inputs.specs}
        return {name: np.concatenate([arrays[name] for arrays in each], axis=axis) for name, axis in axes.items()}

    def apart(self, together: Answer) -> dict[tuple[object, ...], Answer]:
        """The answer to each probe, by its key; none where the outputs do not lead with the batch.

        Args:
            together: the answer to all rows.
        """
        if any(output.shape[:1] != (sum(self._sizes),) for output in together):
            return {}
        ends = np.cumsum(self._sizes)[:-1]
        pieces = [np.split(output, ends) for output in together]
        return {probe.key: [piece[index] for piece in pieces] for index, probe in enumerate(self.probes)}


def batches(probes: Sequence[Probe], inputs: Inputs) -> Iterator[Batch]:
    """Put probes together whose rows can be run at once; those that are alone are left out.

    Args:
        probes: in the order in which they are compared.
        inputs: of the module.
    """
    if not has_rows(inputs.specs):
        return
    waiting: dict[tuple[object, ...], list[Probe]] = {}
    for probe in probes:
        if probe.rows or probe.family == "sample":
            continue
        others = {name: size for name, size in probe.sizes.items() if name != inputs.batch}
        same = waiting.setdefault((probe.optional, *sorted(others.items())), [])
        num_rows = sum(inputs.batch_size(other) or 0 for other in (*same, probe))
        if same and num_rows > _max_rows(probe, inputs):
            yield from _worthwhile(same, inputs)
            same.clear()
        same.append(probe)
    for same in waiting.values():
        yield from _worthwhile(same, inputs)


def is_apart(torch32: Answer, float64: Answer, first: tuple[Answer, Answer]) -> bool:
    """Is what a row of a larger batch gives in float64 as near to float32 as is usual in this module?

    Args:
        torch32: the answer to a probe that was run by itself.
        float64: the answer to its rows among others.
        first: both of the first probe, each run by itself.
    """
    usual = [_relative_error(*pair) for pair in zip(*first, strict=True)]
    rows = zip(torch32, float64, usual, strict=True)
    return all(_is_as_near(values, exact, usual=error) for values, exact, error in rows)


def _is_as_near(torch32: Array, float64: Array, *, usual: float) -> bool:
    if torch32.shape != float64.shape:
        return False
    if torch32.dtype.kind != "f":
        return np.array_equal(torch32, float64)
    off = _relative_error(torch32, float64)
    return np.array_equal(np.isfinite(torch32), np.isfinite(float64)) and off <= ROW_LIMIT * max(usual, EPS32)


def _relative_error(values: Array, exact: Array) -> float:
    return ratio(rms(error_of(values, exact)), rms(exact)) if values.shape == exact.shape else 0.0


def _worthwhile(probes: list[Probe], inputs: Inputs) -> Iterator[Batch]:
    if len(probes) > 1:
        yield Batch(probes, inputs)


def _max_rows(probe: Probe, inputs: Inputs) -> int:
    """So that little memory is needed for them."""
    arrays = inputs.arrays(probe)
    num_elements = sum(array.size for array in arrays.values()) // max(inputs.batch_size(probe) or 1, 1)
    return min(MAX_JOINT_ROWS, max(MIN_JOINT_ROWS, MAX_JOINT_ELEMENTS // max(num_elements, 1)))
