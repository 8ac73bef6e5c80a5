"""Answers that need no run of their own: a batch put together from rows, a mean of float32 runs."""

from collections.abc import Callable

import numpy as np

from tasks.core.arrays import Array, error_of, rms
from tasks.core.inputs.probes import Probe
from tasks.core.limits import ROW_LIMIT

Answer = Callable[[Probe], list[Array]]


def from_rows(probe: Probe, batch: str, *, float32: Answer, float64: Answer) -> list[Array] | None:
    """The float64 answers to rows of other probes, put together; None if the module does not answer each row by itself.

    Its own float32 run on all the rows shows whether it does: its error is then no larger than on those probes.

    Args:
        probe: one whose `rows` are rows of other probes.
        batch: name of the dynamic dimension that counts the rows.
        float32: the module's answers to a probe in float32.
        float64: the same in float64.
    """
    sources = list({source.key: source for source, _ in probe.rows}.values())
    answers: list[Array] = []
    for index, torch32 in enumerate(float32(probe)):
        exact = {source.key: float64(source)[index] for source in sources}
        if any(a.shape[:1] != (s.sizes[batch],) for a, s in zip(exact.values(), sources, strict=True)):
            return None
        rows = [exact[source.key][row] for source, row in probe.rows]
        if any(row.shape != torch32.shape[1:] for row in rows) or len(rows) != len(torch32):
            return None
        together = np.stack(rows)
        if not _is_as_near(torch32, together, [(float32(s)[index], exact[s.key]) for s in sources]):
            return None
        answers.append(together)
    return answers


def rows_of(probe: Probe, answer: Answer) -> list[Array]:
    """What a module that answers each row by itself gives for rows of other probes.

    Args:
        probe: one whose `rows` are rows of other probes.
        answer: the module's to each of these.
    """
    sources = {source.key: answer(source) for source, _ in probe.rows}
    outputs = range(len(next(iter(sources.values()))))
    return [np.stack([sources[source.key][index][row] for source, row in probe.rows]) for index in outputs]


def mean_of_runs(torch32: list[Array], others: list[list[Array]]) -> list[Array]:
    """Float64 arrays nearer to the exact outputs than one float32 run, where a module has no float64 path.

    Args:
        torch32: the module's outputs in float32; its integers are given as they are.
        others: the same with inputs and weights off by one rounding; those of other shapes are left out.
    """
    same = [other for other in others if [a.shape for a in other] == [a.shape for a in torch32]]
    return [
        np.mean([answer[index].astype(np.float64) for answer in (torch32, *same)], axis=0)
        if array.dtype.kind == "f"
        else array
        for index, array in enumerate(torch32)
    ]


def _is_as_near(torch32: Array, float64: Array, others: list[tuple[Array, Array]]) -> bool:
    """Is the error of torch32 no larger than in the other pairs (float32, float64)? Integers must be equal."""
    if torch32.dtype.kind != "f":
        return np.array_equal(torch32, float64)
    if any(a.shape != b.shape for a, b in others):
        return False
    limit = ROW_LIMIT * max(rms(error_of(a, b)) for a, b in others)
    return np.array_equal(np.isfinite(torch32), np.isfinite(float64)) and rms(error_of(torch32, float64)) <= limit
