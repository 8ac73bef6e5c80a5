"""Every value of an ONNX graph: which nodes give and take it, and what it is on one input."""

import ast
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from tasks.core.arrays import Array
from tasks.core.onnx_files.lazy_reading import read_without_weights, values
from tasks.core.onnx_files.reading import SCOPES
from tasks.core.runtime.sessions import SessionError, answers

_SHAPES = ("Shape", "Size")
MAX_MESSAGE_BYTES = 2**31 - 1


class OnnxGraph:
    """The top-level graph of a file; nodes with graphs inside are one node."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.proto: Any = read_without_weights(path)
        graph = self.proto.graph
        self.nodes: list[Any] = list(graph.node)
        self.inputs: list[list[str]] = [list(_inputs_of(node)) for node in self.nodes]
        self.initializers: dict[str, Any] = {tensor.name: tensor for tensor in graph.initializer}
        self.outputs: list[str] = [value.name for value in graph.output]
        self.feeds: list[str] = [value.name for value in graph.input if value.name not in self.initializers]
        self.giver: dict[str, int] = {name: i for i, node in enumerate(self.nodes) for name in node.output if name}
        self.takers: dict[str, list[int]] = {}
        for index, names in enumerate(self.inputs):
            for name in names:
                self.takers.setdefault(name, []).append(index)
        self.constants = self._constants()
        self.live = self._live()

    def _constants(self) -> set[str]:
        """Names of values that don't depend on what is in the inputs, only on their shapes."""
        constants = set(self.initializers)
        for node, names in zip(self.nodes, self.inputs, strict=True):
            if node.op_type in _SHAPES or all(name in constants for name in names):
                constants.update(node.output)
        return constants

    def _live(self) -> set[int]:
        """Nodes that lead to an output."""
        live: set[int] = set()
        waiting = list(self.outputs)
        while waiting:
            index = self.giver.get(waiting.pop())
            if index is not None and index not in live:
                live.add(index)
                waiting += self.inputs[index]
        return live

    def label(self, index: int) -> str:
        """How a node is called: its name, or that of its first output."""
        return str(self.nodes[index].name or self.nodes[index].output[0])

    def data(self, index: int) -> list[str]:
        """Inputs of a node that depend on the graph's inputs, each once."""
        return [name for name in dict.fromkeys(self.inputs[index]) if name not in self.constants]

    def module_path(self, index: int, known: Collection[str]) -> str | None:
        """The PyTorch module that the file itself says a node belongs to; None: it doesn't say.

        Args:
            index: of the node.
            known: paths of the modules.
        """
        node = self.nodes[index]
        scopes = next((p.value for p in node.metadata_props if p.key == SCOPES), "")
        if scopes:
            named = [scope for scope in _literal(scopes)[:-1] if scope in known]
            return named[-1] if named else ""
        return _path_in_name(node.name, known) if node.name.startswith("/") else None

    def run(self, arrays: Mapping[str, Array]) -> tuple[dict[str, Array], int | None, str]:
        """All values on these inputs.

        Returns:
            The values by name, the index of the node at which ONNX Runtime stops (None: it doesn't), what it says.
        """
        try:
            return self.evaluate(range(len(self.nodes)), arrays), None, ""
        except SessionError as error:
            said = str(error)
        runs, fails = 0, len(self.nodes)
        values: dict[str, Array] = {}
        while fails - runs > 1:
            middle = (runs + fails) // 2
            try:
                values, runs = self.evaluate(range(middle), arrays), middle
            except SessionError as error:
                fails, said = middle, str(error)
        return values, fails - 1, said

    def evaluate(
        self,
        nodes: Sequence[int],
        arrays: Mapping[str, Array],
        *,
        constants: Mapping[str, Array] | None = None,
        wanted: Sequence[str] = (),
    ) -> dict[str, Array]:
        """Run some of the nodes, in order, on given values.

        Raises:
            SessionError: ONNX Runtime refuses them.
        """
        model, feeds = self.part(nodes, arrays, constants=constants or {}, wanted=wanted)
        names = [value.name for value in model.graph.output]
        (found,) = answers(model.SerializeToString(), [feeds], level="off", folder=self.path.parent)
        return {name: array for name, array in zip(names, found, strict=True) if array.dtype != object}

    def part(
        self,
        nodes: Sequence[int],
        arrays: Mapping[str, Array],
        *,
        constants: Mapping[str, Array],
        wanted: Sequence[str] = (),
    ) -> tuple[Any, dict[str, Array]]:
        """A model of some of the nodes, and what it is fed.

        Args:
            nodes: indices, in order.
            arrays: values by name; those that the nodes take and don't give become inputs.
            constants: values by name to put in as initializers, instead of the file's.
            wanted: its outputs; empty: all values that the nodes give.
        """
        given = {name for index in nodes for name in self.nodes[index].output if name}
        taken = list(dict.fromkeys(name for index in nodes for name in self.inputs[index] if name not in given))
        fed = [name for name in taken if name in arrays and name not in constants]
        model = onnx.ModelProto(ir_version=self.proto.ir_version)
        model.opset_import.extend(self.proto.opset_import)
        model.functions.extend(self.proto.functions)
        graph = model.graph
        graph.name = "part"
        graph.node.extend(self.nodes[index] for index in nodes)
        for name in fed:
            kind = onnx.helper.np_dtype_to_tensor_dtype(arrays[name].dtype)
            graph.input.append(onnx.helper.make_tensor_value_info(name, kind, arrays[name].shape))
        for name in taken:
            if name in constants:
                graph.initializer.append(onnx.numpy_helper.from_array(np.ascontiguousarray(constants[name]), name))
            elif name in self.initializers and name not in fed:
                graph.initializer.append(self.initializers[name])
        for name in wanted or sorted(given):
            graph.output.append(onnx.ValueInfoProto(name=name))
        return model, {name: arrays[name] for name in fed}

    def constant(self, name: str) -> Array | None:
        """An initializer's values."""
        return values(self.initializers[name], self.path) if name in self.initializers else None


def _inputs_of(node: Any) -> Iterator[str]:
    """Names that a node takes, those inside its graphs included."""
    yield from (name for name in node.input if name)
    for attribute in node.attribute:
        for graph in [attribute.g] if attribute.HasField("g") else list(attribute.graphs):
            own = {value.name for value in (*graph.input, *graph.initializer)}
            own.update(name for inner in graph.node for name in inner.output)
            for name in (*(n for inner in graph.node for n in _inputs_of(inner)), *(v.name for v in graph.output)):
                if name and name not in own:
                    yield name


def _literal(text: str) -> list[str]:
    try:
        return [str(scope) for scope in ast.literal_eval(text)]
    except (ValueError, SyntaxError):
        return []


def _path_in_name(name: str, known: Collection[str]) -> str:
    """`/layer1/layer1.0/conv1/Conv` -> `layer1.0.conv1`: a scope repeats its parent's last word where it has a dot."""
    path = ""
    for scope in name.strip("/").split("/")[:-1]:
        parent, _, last = path.rpartition(".")
        scope = re.sub(r"_\d+$", "", scope) if f"{path}.{scope}".strip(".") not in known else scope
        longer = f"{path}.{scope}" if path else scope
        instead = f"{parent}.{scope}" if parent else scope
        path = longer if longer in known else instead if last and scope.startswith(f"{last}.") else longer
    return path
