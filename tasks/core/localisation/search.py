"""Find the node at which a wrong file begins to be wrong: the first whose own error exceeds its noise.

Every value of the file is looked up among the values that the module computes on the same probe. The first node
that computes a wrong output from right inputs is suspected; `wrong_node` then runs it by itself on the module's own
values, which tells a node that is wrong from one that is fed the wrong value.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tasks.core.arrays import Array
from tasks.core.errors import CrashError, ModelError, OutOfMemoryError
from tasks.core.inputs.probes import Probe
from tasks.core.limits import MATCHING_LIMIT, SEARCH_LIMITS
from tasks.core.localisation.defects import Defect
from tasks.core.localisation.file_values import FileValues
from tasks.core.localisation.onnx_graph import OnnxGraph
from tasks.core.localisation.wrong_node import WrongNode
from tasks.core.records.steps import Graph
from tasks.core.reference.reference import Reference

Feeds = Callable[[Probe], Mapping[str, Array]]
"""The arrays of a probe, by the file's input names."""


def localise(
    reference: Reference, graph: Graph, *, probes: Sequence[Probe], feeds: Feeds, output_order: Sequence[int]
) -> tuple[Defect | None, list[str]]:
    """Find the first node of a wrong file whose own error exceeds its noise.

    Args:
        reference: gives the values of the module.
        graph: the file.
        probes: on which it is wrong, the most telling first.
        feeds: gives what the file takes on a probe.
        output_order: which of the file's outputs is the module's first, second…; empty: as they come.

    Returns:
        The node, None where none can be found; and notes for a reader.
    """
    try:
        onnx_graph = OnnxGraph(graph.path)
        for limit in SEARCH_LIMITS:
            for probe in probes:
                file = _file_values(reference, onnx_graph, probe, feeds=feeds, output_order=output_order, limit=limit)
                defect = WrongNode(reference.network, file).find()
                if defect is not None:
                    return defect, []
    except (CrashError, ModelError, OutOfMemoryError) as error:
        return None, [f"where the file goes wrong could not be looked for: {error}"]
    return None, []


def hidden_defect(
    reference: Reference, graph: Graph, *, probes: Sequence[Probe], feeds: Feeds, output_order: Sequence[int]
) -> tuple[Defect | None, list[str]]:
    """Find a node that is wrong by itself in a file whose outputs are within the limits.

    Args:
        reference: gives the values of the module.
        graph: the file.
        probes: to look at one after another, each once.
        feeds: gives what the file takes on a probe.
        output_order: which of the file's outputs is the module's first, second…; empty: as they come.

    Returns:
        The node, None where none is wrong; and notes for a reader.
    """
    options: dict[str, Any] = {"feeds": feeds, "output_order": output_order, "limit": MATCHING_LIMIT}
    try:
        onnx_graph = OnnxGraph(graph.path)
        for probe in {probe.key: probe for probe in probes}.values():
            examination = WrongNode(reference.network, _file_values(reference, onnx_graph, probe, **options))
            for index in examination.file.own_errors():
                return examination.examined(index), []
    except (CrashError, ModelError, OutOfMemoryError) as error:
        return None, [f"its nodes could not be looked at one by one: {error}"]
    return None, []


def _file_values(
    reference: Reference, graph: OnnxGraph, probe: Probe, *, feeds: Feeds, output_order: Sequence[int], limit: float
) -> FileValues:
    """Run the file and the module on a probe, value by value."""
    return FileValues(
        graph,
        reference.traced(probe),
        {name: array for name, array in feeds(probe).items() if name in graph.feeds},
        output_order=output_order or range(len(graph.outputs)),
        limit=limit,
    )
