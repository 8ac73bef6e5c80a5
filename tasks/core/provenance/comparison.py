"""What differs between two exports: what they were made from, their contract, and their files."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

from rich.filesize import decimal

from tasks.core.onnx_files.operators import operator_counts
from tasks.core.provenance.attempts import PastExport
from tasks.core.provenance.drift import measure_drift
from tasks.core.provenance.manifest import changes
from tasks.core.records.comparison import Change, Comparison, ContractChange
from tasks.core.records.steps import Graph

_Word = Literal["inputs", "outputs"]


def compare(before: PastExport, now: PastExport, files: tuple[Path, Path]) -> Comparison:
    """Compare two registered exports; their files are run on the same inputs.

    Args:
        before: the first one.
        now: the second one.
        files: of both, as MLflow holds them.
    """
    old_counts, new_counts = map(operator_counts, files)
    names = sorted(old_counts.keys() | new_counts.keys())
    return Comparison(
        before=str(before.release.model_uri),
        now=str(now.release.model_uri),
        changes=(
            *changes(before.manifest, now.manifest),
            *_origins(before, now),
            *file_changes(before.graph, now.graph),
        ),
        contract=contract_changes(before.graph, now.graph),
        operators={name: pair for name in names if len(set(pair := (old_counts[name], new_counts[name]))) > 1},
        size_bytes=(before.graph.size_bytes, now.graph.size_bytes),
        latency=(before.latency, now.latency),
        drift=measure_drift(before, now, files),
    )


def contract_changes(before: Graph, now: Graph) -> tuple[ContractChange, ...]:
    """Names, dtypes and dims of inputs and outputs that are no longer the same; their order is none.

    Args:
        before: an earlier version's file.
        now: this one's.
    """
    found = []
    for word in get_args(_Word):
        old, new = (set(map(str, getattr(graph, word))) for graph in (before, now))
        if old != new:
            found.append(ContractChange(word=word, before=tuple(sorted(old - new)), now=tuple(sorted(new - old))))
    return tuple(found)


def file_changes(before: Graph, now: Graph) -> Iterator[Change]:
    """Size, number of nodes and exporter, where they differ.

    Args:
        before: an earlier version's file.
        now: this one's.
    """
    for name, old, new in (
        ("size", decimal(before.size_bytes), decimal(now.size_bytes)),
        ("nodes", str(before.num_nodes), str(now.num_nodes)),
        ("exporter", before.exporter, now.exporter),
    ):
        if old != new:
            yield Change(kind="file", name=name, before=old, now=new)


def _origins(before: PastExport, now: PastExport) -> Iterator[Change]:
    """Where the weights came from, where that differs."""
    old, new = (past.weights.origin if past.weights else "unknown" for past in (before, now))
    if old != new:
        yield Change(kind="weights", name="origin of the weights", before=old, now=new)
