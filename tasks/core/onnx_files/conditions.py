"""Have a file say which sides of its branches it takes, and how often its loops turn, where inputs decide that."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnx import TensorProto, helper, inliner

from tasks.core.onnx_files.lazy_reading import read_without_weights
from tasks.core.onnx_files.reading import SOURCE, graphs_of, inputs_of

_AXES_ARE_INPUTS = 13
"""Opset since which ReduceSum takes its axes as an input."""
_ON_SHAPES = ("Shape", "Size")
WAYS = {"If": ("else", "then"), "Loop": ("no turn", "one turn", "several turns")}
"""By operator: what its counts are of."""


@dataclass(frozen=True)
class Counted:
    """A node whose way depends on the inputs."""

    op_type: str
    """If or Loop."""
    title: str
    """Its name, or that of its output, and the source line that the file gives."""
    on_values: bool
    """Or on shapes alone."""


def control_flow(path: Path) -> set[str]:
    """Which of `If`, `Loop` and `Scan` are in a file, in graphs inside nodes and in functions, too."""
    proto: Any = read_without_weights(path)
    found = {node.op_type for graph in (proto.graph, *proto.functions) for node in _all_nodes(graph)}
    return found & {"If", "Loop", "Scan"}


def with_counts(path: Path) -> tuple[bytes, list[Counted]]:
    """Change a file so that it counts the `WAYS` that each `If` and `Loop` goes.

    What constants decide is left out, and so is what functions hold that ONNX can't inline.

    Args:
        path: of the file; it is only read, and must lie where it is when the bytes are used.

    Returns:
        A serialised model whose outputs are the counts, int64[2] an `If` and int64[3] a `Loop`, and what they are of.
    """
    proto: Any = read_without_weights(path)
    if proto.functions:
        proto = inliner.inline_local_functions(proto)
    opset = next((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), 1)
    counter = _Counter(opset)
    counts = counter.count(proto.graph, set(), set())
    del proto.graph.output[:]
    sizes = (len(WAYS[counter.counted[name].op_type]) for name in counts)
    infos = (
        helper.make_tensor_value_info(name, TensorProto.INT64, [size]) for name, size in zip(counts, sizes, strict=True)
    )
    proto.graph.output.extend(infos)
    return proto.SerializeToString(), [counter.counted[name] for name in counts]


class _Counter:
    def __init__(self, opset: int) -> None:
        self.counted: dict[str, Counted] = {}
        """By the name of a count."""
        self._opset = opset
        self._num_names = 0

    def count(self, graph: Any, fixed: set[str], on_shapes: set[str]) -> list[str]:
        """Add counts to a graph and to the graphs inside it; return their names, values of the graph.

        Args:
            graph: is changed in place.
            fixed: names of outer values that are the same whatever the inputs are.
            on_shapes: names of outer values that depend on no more than the shapes of the inputs.
        """
        initializers = {tensor.name for tensor in graph.initializer}
        fixed, on_shapes = fixed | initializers, on_shapes | initializers
        nodes, found = list(graph.node), list[str]()
        del graph.node[:]
        for node in nodes:
            names = list(inputs_of(node))
            is_known = node.op_type in _ON_SHAPES or on_shapes.issuperset(names)
            fixed.update(node.output if fixed.issuperset(names) else ())
            on_shapes.update(node.output if is_known else ())
            is_decided = node.op_type not in WAYS or _is_decided_by(node, fixed, ())
            on_values = not is_decided and not _is_decided_by(node, on_shapes, _ON_SHAPES)
            inside = list(self._inside(node, fixed, on_shapes)) if not is_known else []
            stacked = self._turns(node) if node.op_type == "Loop" and not is_decided and not is_known else ""
            graph.node.append(node)
            found += [self._reduced(graph, name) for name in inside] if node.op_type in ("Loop", "Scan") else inside
            if not is_decided and not is_known:
                count = self._of_turns(graph, stacked) if stacked else self._of_condition(graph, node)
                source = next((entry.value for entry in node.metadata_props if entry.key == SOURCE), "")
                title = f"{node.name or next(iter(node.output), node.op_type)}{f' ({source})' if source else ''}"
                self.counted[count] = Counted(node.op_type, title, on_values)
                found.append(count)
        return found

    def _inside(self, node: Any, fixed: set[str], on_shapes: set[str]) -> Iterator[str]:
        """Counts in the graphs of a node, made outputs of it."""
        bodies = list(graphs_of(node))
        for body in bodies:
            for inner in self.count(body, fixed, on_shapes):
                outer, size = self._name(), len(WAYS[self.counted[inner].op_type])
                for other in (other for other in bodies if other is not body):  # the sides of an If give the same
                    zeros = self._constant(other, [0] * size)
                    other.output.append(helper.make_tensor_value_info(zeros, TensorProto.INT64, [size]))
                body.output.append(helper.make_tensor_value_info(inner, TensorProto.INT64, [size]))
                self.counted[outer] = self.counted.pop(inner)
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
        return count

    def _turns(self, node: Any) -> str:
        """A further output of a `Loop`, which has a one for each of its turns."""
        (body,) = graphs_of(node)
        one, stacked = self._constant(body, [1]), self._name()
        body.output.append(helper.make_tensor_value_info(one, TensorProto.INT64, [1]))
        node.output.append(stacked)
        return stacked

    def _of_turns(self, graph: Any, stacked: str) -> str:
        """The count of one `Loop`: which of none, one and several turns it made."""
        total, count, (zero, one) = (
            self._sum(graph, stacked),
            self._name(),
            (self._constant(graph, [n]) for n in (0, 1)),
        )
        parts = []
        for operator, number in (("Equal", zero), ("Equal", one), ("Greater", one)):
            is_so, part = self._name(), self._name()
            graph.node.append(helper.make_node(operator, [total, number], [is_so]))
            graph.node.append(helper.make_node("Cast", [is_so], [part], to=TensorProto.INT64))
            parts.append(part)
        graph.node.append(helper.make_node("Concat", parts, [count], axis=0))
        return count

    def _reduced(self, graph: Any, stacked: str) -> str:
        """A count summed over the turns of a loop."""
        total = self._sum(graph, stacked)
        self.counted[total] = self.counted.pop(stacked)
        return total

    def _sum(self, graph: Any, stacked: str) -> str:
        total = self._name()
        if self._opset < _AXES_ARE_INPUTS:
            graph.node.append(helper.make_node("ReduceSum", [stacked], [total], axes=[0], keepdims=0))
        else:
            axes = self._constant(graph, [0])
            graph.node.append(helper.make_node("ReduceSum", [stacked, axes], [total], keepdims=0))
        return total

    def _constant(self, graph: Any, values: list[int]) -> str:
        name = self._name()
        tensor = helper.make_tensor(name, TensorProto.INT64, [len(values)], values)
        graph.node.append(helper.make_node("Constant", [], [name], value=tensor))
        return name

    def _name(self) -> str:
        self._num_names += 1
        return f"assay.count.{self._num_names}"


def _is_decided_by(node: Any, known: set[str], operators: Collection[str]) -> bool:
    """Do known values decide the way of an `If` or `Loop`?

    Args:
        node: one of these.
        known: names of values.
        operators: types of nodes whose outputs are known whatever they take.
    """
    if node.op_type == "If":
        return node.input[0] in known
    (body,) = graphs_of(node)
    given, kept = [value.name for value in body.input], [value.name for value in body.output]
    carried = {given[i] for i in range(2, len(given)) if node.input[i] in known}
    while True:  # until no value is taken for known that a turn makes an unknown one
        inside = known | carried | {*given[:2]} | {tensor.name for tensor in body.initializer}
        for inner in body.node:
            inside.update(inner.output if inner.op_type in operators or inside.issuperset(inputs_of(inner)) else ())
        lasting = {given[i] for i in range(2, len(given)) if given[i] in carried and kept[i - 1] in inside}
        if lasting == carried:
            return kept[0] in inside and all(name in known for name in node.input[:2] if name)
        carried = lasting


def _all_nodes(graph: Any) -> Iterator[Any]:
    """Nodes of a graph or function, and of the graphs inside it."""
    for node in graph.node:
        yield node
        for inside in graphs_of(node):
            yield from _all_nodes(inside)
