"""An ONNX graph as a data-flow graph: producers and consumers of each value, and the values on one input."""

import ast
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx

from tasks.core.arrays import Array
from tasks.core.onnx_files.lazy_reading import read_without_weights
from tasks.core.onnx_files.reading import SCOPES, inputs_of
from tasks.core.runtime.sessions import SessionError, answers

_SHAPES = ("Shape", "Size")


class OnnxGraph:
    """The top-level graph of a file, nodes by index; a node with graphs inside counts as one."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.proto: Any = read_without_weights(path)
        graph = self.proto.graph
        self.nodes: list[Any] = list(graph.node)
        self.inputs: list[list[str]] = [list(inputs_of(node)) for node in self.nodes]
        self.initializers: dict[str, Any] = {tensor.name: tensor for tensor in graph.initializer}
        self.outputs: list[str] = [value.name for value in graph.output]
        self.feeds: list[str] = [value.name for value in graph.input if value.name not in self.initializers]
        self.producer: dict[str, int] = {name: i for i, node in enumerate(self.nodes) for name in node.output if name}
        self.consumers: dict[str, list[int]] = {}
        for index, names in enumerate(self.inputs):
            for name in names:
                self.consumers.setdefault(name, []).append(index)
        self.constants = self._constants()
        self.reaching_outputs = self._reaching_outputs()

    def _constants(self) -> set[str]:
        """Names of values that depend on no more than the shapes of the graph's inputs."""
        constants = set(self.initializers)
        for node, names in zip(self.nodes, self.inputs, strict=True):
            if node.op_type in _SHAPES or all(name in constants for name in names):
                constants.update(node.output)
        return constants

    def _reaching_outputs(self) -> set[int]:
        """Indices of the nodes from which an output of the graph is computed."""
        found: set[int] = set()
        waiting = list(self.outputs)
        while waiting:
            index = self.producer.get(waiting.pop())
            if index is not None and index not in found:
                found.add(index)
                waiting += self.inputs[index]
        return found

    def label(self, index: int) -> str:
        """A node's name, else the name of its first output; a file may lack both."""
        node = self.nodes[index]
        return str(node.name or next(iter(node.output), node.op_type))

    def data_inputs(self, index: int) -> list[str]:
        """Names of a node's inputs that depend on the graph's inputs, each once."""
        return [name for name in dict.fromkeys(self.inputs[index]) if name not in self.constants]

    def module_path(self, index: int, known: Collection[str]) -> str | None:
        """Path of the PyTorch module that the file's own metadata gives for a node; None: it gives none.

        Args:
            index: of the node.
            known: paths of the module's submodules.
        """
        node = self.nodes[index]
        scopes = next((p.value for p in node.metadata_props if p.key == SCOPES), "")
        if scopes:
            named = [scope for scope in _literal(scopes)[:-1] if scope in known]
            return named[-1] if named else ""
        return _path_in_name(node.name, known) if node.name.startswith("/") else None

    def run(self, arrays: Mapping[str, Array]) -> tuple[dict[str, Array], int | None, str]:
        """All values by name, the index of the node at which ONNX Runtime fails (None: at none), and its message."""
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
        self, nodes: Sequence[int], arrays: Mapping[str, Array], *, wanted: Sequence[str] = ()
    ) -> dict[str, Array]:
        """Run some of the nodes on given values; a SessionError says that ONNX Runtime refuses them.

        Args:
            nodes: indices, in order.
            arrays: values by name that the nodes take from elsewhere.
            wanted: names of the values to return; empty: all that the nodes compute.
        """
        model, feeds = self.part(nodes, arrays, wanted=wanted)
        (found,) = answers(model.SerializeToString(), [feeds], level="off", folder=self.path.parent)
        pairs = zip(model.graph.output, found, strict=True)
        return {value.name: array for value, array in pairs if array.dtype != object}

    def part(
        self, nodes: Sequence[int], arrays: Mapping[str, Array], *, wanted: Sequence[str] = ()
    ) -> tuple[Any, dict[str, Array]]:
        """Build a model of some of the nodes, and give it with the arrays of its inputs by name.

        Args:
            nodes: indices, in order.
            arrays: values by name; those that the nodes take and do not compute become inputs.
            wanted: names of its outputs; empty: all values that the nodes compute.
        """
        computed = {name for index in nodes for name in self.nodes[index].output if name}
        taken = list(dict.fromkeys(name for index in nodes for name in self.inputs[index] if name not in computed))
        fed = [name for name in taken if name in arrays]
        kinds = {name: onnx.helper.np_dtype_to_tensor_dtype(arrays[name].dtype) for name in fed}
        graph = onnx.helper.make_graph(
            [self.nodes[index] for index in nodes],
            "part",
            [onnx.helper.make_tensor_value_info(name, kinds[name], arrays[name].shape) for name in fed],
            [onnx.ValueInfoProto(name=name) for name in wanted or sorted(computed)],
            [self.initializers[name] for name in taken if name in self.initializers and name not in fed],
        )
        model = onnx.helper.make_model(
            graph,
            ir_version=self.proto.ir_version,
            opset_imports=self.proto.opset_import,
            functions=self.proto.functions,
        )
        return model, {name: arrays[name] for name in fed}


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
