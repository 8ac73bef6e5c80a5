"""Find the node at which a wrong file begins to be wrong: the first whose own error exceeds its noise.

Every value of the file is looked up among the values that the module computes on the same probe. The first node
that computes a wrong output from right inputs is suspected; `wrong_node` then runs it by itself on the module's own
values, which tells a node that is wrong from one that is fed the wrong value.
"""

from collections.abc import Callable, Mapping, Sequence

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


def localise(
    reference: Reference,
    graph: Graph,
    *,
    probes: Sequence[Probe],
    feeds: Callable[[Probe], Mapping[str, Array]],
    output_order: Sequence[int],
    hidden: bool = False,
) -> tuple[Defect | None, list[str]]:
    """Find the first node of a file whose own error exceeds its noise.

    Args:
        reference: gives the values of the module.
        graph: the file.
        probes: to look at one after another, the most telling first.
        feeds: gives the arrays of a probe, by the file's input names.
        output_order: which of the file's outputs is the module's first, second…; empty: as they come.
        hidden: the outputs are within the limits, so that only a node that is wrong by itself is a defect.

    Returns:
        The node, None where none can be found; and notes for a reader.
    """
    try:
        onnx_graph = OnnxGraph(graph.path)
        for limit in (MATCHING_LIMIT,) if hidden else SEARCH_LIMITS:
            for probe in probes:
                file = FileValues(
                    onnx_graph,
                    reference.traced(probe),
                    {name: array for name, array in feeds(probe).items() if name in onnx_graph.feeds},
                    output_order=output_order or range(len(onnx_graph.outputs)),
                    limit=limit,
                )
                if defect := WrongNode(reference.network, file).find(hidden=hidden):
                    return defect, []
    except (CrashError, ModelError, OutOfMemoryError) as error:
        if hidden:
            return None, [f"its nodes could not be looked at one by one: {error}"]
        return None, [f"where the file goes wrong could not be looked for: {error}"]
    return None, []
