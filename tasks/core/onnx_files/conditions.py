"""Have a file say which sides of its branches it takes: each `If` whose condition depends on values is counted."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from onnx import TensorProto, helper, inliner

from tasks.core.onnx_files.lazy_reading import read_without_weights
from tasks.core.onnx_files.reading import SOURCE, graphs_of, inputs_of

_AXES_ARE_INPUTS = 13
"""Opset since which ReduceSum takes its axes as an input."""
_ON_SHAPES = ("Shape", "Size")


def control_flow(path: Path) -> set[str]:
    """Which of `If`, `Loop` and `Scan` are in a file, in graphs inside nodes and in functions, too."""
    proto: Any = read_without_weights(path)
    found = {node.op_type for graph in (proto.graph, *proto.functions) for node in _all_nodes(graph)}
    return found & {"If", "Loop", "Scan"}


def with_counts(path: Path) -> tuple[bytes, list[str]]:
    """Change a file so that it counts how often each `If` takes its else side and its then side.

    A condition that depends on shapes alone is left out: other sizes are probed. So is what functions hold that ONNX
    can't inline.

    Args:
        path: of the file; it is only read, and must lie where it is when the bytes are used.

    Returns:
        A serialised model whose outputs are the counts, int64[2] an `If`, and what to call each of these.
    """
    proto: Any = read_without_weights(path)
    if proto.functions:
        proto = inliner.inline_local_functions(proto)
    opset = next((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), 1)
    counter = _Counter(opset)
    counts = counter.count(proto.graph, set())
    del proto.graph.output[:]
    proto.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.INT64, [2]) for name in counts)
    return proto.SerializeToString(), [counter.titles[name] for name in counts]


class _Counter:
    def __init__(self, opset: int) -> None:
        self.titles: dict[str, str] = {}
        """Name of a count -> the `If` that it counts."""
        self._opset = opset
        self._num_names = 0

    def count(self, graph: Any, constants: set[str]) -> list[str]:
        """Add counts to a graph and to the graphs inside it; return their names, values of the graph.

        Args:
            graph: is changed in place.
            constants: names of outer values that do not depend on the values of an input.
        """
        known = constants | {tensor.name for tensor in graph.initializer}
        nodes, found = list(graph.node), list[str]()
        del graph.node[:]
        for node in nodes:
            is_constant = node.op_type in _ON_SHAPES or all(name in known for name in inputs_of(node))
            if is_constant:
                known.update(node.output)
            added = list(self._inside(node, known)) if not is_constant else []
            graph.node.append(node)
            if node.op_type == "If" and not is_constant and node.input[0] not in known:
                added.append(self._of_condition(graph, node))
            found += [self._reduced(graph, name) if node.op_type in ("Loop", "Scan") else name for name in added]
        return found

    def _inside(self, node: Any, known: set[str]) -> Iterator[str]:
        """Counts in the graphs of a node, made outputs of it."""
        bodies = list(graphs_of(node))
        for body in bodies:
            for inner in self.count(body, known):
                for other in (other for other in bodies if other is not body):  # the sides of an If give the same
                    zeros = self._constant(other, [0, 0])
                    other.output.append(helper.make_tensor_value_info(zeros, TensorProto.INT64, [2]))
                body.output.append(helper.make_tensor_value_info(inner, TensorProto.INT64, [2]))
                outer = self._name()
                self.titles[outer] = self.titles.pop(inner)
                node.output.append(outer)
                yield outer

    def _of_condition(self, graph: Any, node: Any) -> str:
        """The count of one `If`: [1, 0] on its else side, [0, 1] on its then side."""
        flat, then, other, count = (self._name() for _ in range(4))
        graph.node.extend(
            [
                helper.make_node("Reshape", [node.input[0], self._constant(graph, [1])], [flat]),
                helper.make_node("Cast", [flat], [then], to=TensorProto.INT64),
                helper.make_node("Sub", [self._constant(graph, [1]), then], [other]),
                helper.make_node("Concat", [other, then], [count], axis=0),
            ]
        )
        source = next((entry.value for entry in node.metadata_props if entry.key == SOURCE), "")
        self.titles[count] = f"{node.name or node.output[0]}{f' ({source})' if source else ''}"
        return count

    def _reduced(self, graph: Any, stacked: str) -> str:
        """The sum over the iterations of a loop."""
        total = self._name()
        if self._opset < _AXES_ARE_INPUTS:
            graph.node.append(helper.make_node("ReduceSum", [stacked], [total], axes=[0], keepdims=0))
        else:
            axes = self._constant(graph, [0])
            graph.node.append(helper.make_node("ReduceSum", [stacked, axes], [total], keepdims=0))
        self.titles[total] = self.titles.pop(stacked)
        return total

    def _constant(self, graph: Any, values: list[int]) -> str:
        name = self._name()
        tensor = helper.make_tensor(name, TensorProto.INT64, [len(values)], values)
        graph.node.append(helper.make_node("Constant", [], [name], value=tensor))
        return name

    def _name(self) -> str:
        self._num_names += 1
        return f"assay.count.{self._num_names}"


def _all_nodes(graph: Any) -> Iterator[Any]:
    """Nodes of a graph or function, and of the graphs inside it."""
    for node in graph.node:
        yield node
        for inside in graphs_of(node):
            yield from _all_nodes(inside)
