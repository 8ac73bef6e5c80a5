"""A file that is to be proven, beside what is known of it already."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tasks.core.arrays import Array
from tasks.core.records.steps import Graph


@dataclass(frozen=True)
class Candidate:
    """An ONNX file, how its inputs and outputs correspond to the module's, and what it answered so far."""

    graph: Graph
    answers: Mapping[tuple[str, tuple[object, ...]], list[Array]] = field(default_factory=dict, repr=False)
    """By optimisation level and key of a probe: the file's outputs in its own order, where it was run before."""
    file_inputs: Mapping[str, str] = field(default_factory=dict)
    """Names of inputs in the file by the module's, where they differ."""
    output_order: tuple[int, ...] = ()
    """Which of the file's outputs is the module's first, second…; empty: they come in the module's order."""
    failures: tuple[str, ...] = ()
    """What is wrong with the file already, one sentence each."""
    notes: tuple[str, ...] = ()
    """What a reader of the proof should know, e.g. how inputs were matched."""
