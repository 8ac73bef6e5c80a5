"""Float64 answers to a batch, put together from the answers to its rows."""

from collections.abc import Callable

import numpy as np

from tasks.core.arrays import Array, rms
from tasks.core.inputs.probes import Probe
from tasks.core.limits import ROW_LIMIT

Answer = Callable[[Probe], list[Array]]


def from_rows(probe: Probe, batch: str, *, float32: Answer, float64: Answer) -> list[Array] | None:
    """Float64 answers of other probes' rows, side by side; None where the module does not answer each row apart.

    Its own float32 run on all the rows shows whether it does: it is no farther off than on those probes.

    Args:
        probe: one whose `rows` are those of other probes.
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


def _is_as_near(torch32: Array, float64: Array, others: list[tuple[Array, Array]]) -> bool:
    """Is torch32 as near to float64 as in the other pairs? Integers must be equal."""
    if torch32.dtype.kind != "f":
        return np.array_equal(torch32, float64)
    if any(a.shape != b.shape for a, b in others):
        return False
    limit = ROW_LIMIT * max(rms(a - b) for a, b in others)
    return np.array_equal(np.isfinite(torch32), np.isfinite(float64)) and rms(torch32 - float64) <= limit
