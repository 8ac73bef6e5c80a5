"""What differs between two registered versions: what they were made from, their contract, what they compute."""

from typing import Literal

from tasks.core.records.latency import Latency
from tasks.core.records.record import Record

Kind = Literal["weights", "sample", "spec", "code", "packages", "file"]


class Change(Record):
    """A fact about an export that is no longer what it was."""

    kind: Kind
    name: str
    before: str
    now: str


class ContractChange(Record):
    """What a user of the file before would have to change: inputs or outputs that are no longer the same."""

    word: Literal["inputs", "outputs"]
    before: tuple[str, ...]
    """Name, dtype and dims of those that are gone."""
    now: tuple[str, ...]
    """Of those that are new."""


class OutputDrift(Record):
    """How far one output of the second file is from the first one's, over all probes."""

    name: str
    """In the second file."""
    name_before: str
    relative_rms: float | None = None
    """Root mean square of the difference, over that of the first file's answers; None: `reason` says why."""
    largest: float | None = None
    """Largest absolute difference."""
    reason: str = ""
    """Why the two can't be subtracted, in one sentence; empty: they were."""


class Drift(Record):
    """How far the answers of two files are apart on the same inputs."""

    outputs: tuple[OutputDrift, ...] = ()
    sizes: tuple[dict[str, int], ...] = ()
    """Of each probe: size of each dynamic dimension of the first file's inputs."""
    reason: str = ""
    """Why they were not run on the same inputs, in one sentence; empty: they were."""


class Comparison(Record):
    """Two versions side by side; what is equal is left out."""

    before: str
    """Address of the first one: `models:/NAME/VERSION`."""
    now: str
    changes: tuple[Change, ...]
    contract: tuple[ContractChange, ...]
    operators: dict[str, tuple[int, int]]
    """Number of nodes before and now, by operator, where they differ."""
    size_bytes: tuple[int, int]
    """Of both files, with their sidecars."""
    latency: tuple[Latency | None, Latency | None]
    """Of both, as they were measured when they were made."""
    drift: Drift
