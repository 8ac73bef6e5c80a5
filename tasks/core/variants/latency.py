"""How long a run of a variant takes beside one of the proven file."""

from collections.abc import Mapping
from pathlib import Path

from tasks.core.arrays import Array
from tasks.core.errors import AssayError
from tasks.core.records.latency import Timing
from tasks.core.runtime import sessions
from tasks.core.speed.latency import timing_of

_NUM_ROUNDS = 3
_ROUND_SECONDS = 0.15
_MAX_RUNS = 100


def time_beside(source: Path, variant: Path, arrays: Mapping[str, Array]) -> dict[str, Timing]:
    """Time both by turns, warmed up, on a batch of one; nothing where one of them can't be run so.

    Args:
        source: the proven file.
        variant: made of it.
        arrays: one row, by input name.

    Returns:
        By field of `VariantEvidence`.
    """
    found: dict[Path, list[float]] = {source: [], variant: []}
    try:
        for _ in range(_NUM_ROUNDS):
            for path, seconds in found.items():
                with sessions.timing(path, arrays) as run:
                    first = run(2)[-1]
                    seconds.extend(run(min(_MAX_RUNS, int(_ROUND_SECONDS / max(first, 1e-6)) + 1)))
    except (sessions.SessionError, AssayError):
        return {}
    return {"source_latency": timing_of(found[source]), "latency": timing_of(found[variant])}
