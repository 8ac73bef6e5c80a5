"""Passes over a graph before it is written: metadata without anything private, labels, names of dims."""

from collections.abc import Iterable, Iterator, Mapping

import onnx_ir as ir

from tasks.core.onnx_files.reading import SCOPES, SOURCE
from tasks.core.source_lines import innermost, lines_of_trace, without_folder

ObservedShapes = list[tuple[Mapping[str, int], list[tuple[int, ...]]]]
"""Of each of some runs, the sizes of the dynamic input dims by name, and the shapes of all outputs."""
_STACK_TRACE = "pkg.torch.onnx.stack_trace"
_Described = ir.Model | ir.Graph | ir.Function | ir.Node | ir.Value


class CleanMetadataPass(ir.passes.InPlacePass):
    """Remove metadata and doc strings from the model, its functions and inner graphs, and from all they hold.

    Exporters write absolute paths of the builder's file system into them. Of a node stay its module path and, as
    `package/file.py:LINE`, the innermost line of the model's own code in its stack trace. onnx_ir's
    ClearMetadataAndDocStringPass takes those, too, and leaves what values, tensors and the model itself say.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Clean a model in place."""
        _clear(model)
        for graph in _graphs(model):
            _clear(graph)
            for value in (*graph.inputs, *graph.outputs):
                _clear(value)
            if isinstance(graph, ir.Graph):
                for value in graph.initializers.values():
                    _clear(value)
                    _clear_tensor(value.const_value)
            else:
                _clear_attributes(graph)
            for node in graph:
                _clear_node(node)
        return ir.passes.PassResult(model, modified=True)


class LabelParametersPass(ir.passes.InPlacePass):
    """Rename initializers: the i-th label for the i-th parameter."""

    def __init__(self, labels: Iterable[str], parameters: Iterable[str]) -> None:
        """Pair labels with parameters.

        Args:
            labels: new names.
            parameters: names of the module's parameters, in its own order; those beyond the labels keep theirs.
        """
        super().__init__()
        self._pairs = list(zip(labels, parameters, strict=False))
        self.labels: dict[str, str] = {}
        """Label -> parameter, of those that were found in the graph."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rename in place."""
        initializers = model.graph.initializers
        for label, parameter in self._pairs:
            if parameter in initializers:
                value = initializers.pop(parameter)
                value.name = label
                initializers[label] = value
                self.labels[label] = parameter
        return ir.passes.PassResult(model, modified=bool(self.labels))


class NameOutputDimsPass(ir.passes.InPlacePass):
    """Give dynamic output dims the name of the input dim that they follow, else OUTPUT_AXIS."""

    def __init__(self, observed: ObservedShapes) -> None:
        """Name dims by what was observed in at least one run."""
        super().__init__()
        self._observed = observed

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Name in place."""
        for index, output in enumerate(model.graph.outputs):
            if output.shape is not None:
                output.shape = ir.Shape(
                    dim if isinstance(dim, int) else self._followed(index, axis) or f"{output.name}_{axis}"
                    for axis, dim in enumerate(output.shape)
                )
        return ir.passes.PassResult(model, modified=True)

    def _followed(self, index: int, axis: int) -> str | None:
        """The first input dim that had the size of this output dim in every run, if the size varied."""
        seen = [(sizes, shapes[index][axis]) for sizes, shapes in self._observed if axis < len(shapes[index])]
        if len({size for _, size in seen}) < 2:
            return None
        return next((name for name in self._observed[0][0] if all(sizes[name] == size for sizes, size in seen)), None)


def _graphs(model: ir.Model) -> Iterator[ir.Graph | ir.Function]:
    """The main graph, the functions, and the bodies of loops and branches in them."""
    parts: tuple[ir.Graph | ir.Function, ...] = (model.graph, *model.functions.values())
    for part in parts:
        yield part
        yield from part.subgraphs()


def _clear_node(node: ir.Node) -> None:
    scopes = node.metadata_props.get(SCOPES)
    source = without_folder(innermost(lines_of_trace(node.metadata_props.get(_STACK_TRACE, ""))))
    _clear(node)
    node.metadata_props.update({key: value for key, value in ((SCOPES, scopes), (SOURCE, source)) if value})
    for value in node.outputs:
        _clear(value)
    _clear_attributes(node)


def _clear_attributes(owner: ir.Node | ir.Function) -> None:
    for attribute in owner.attributes.values():
        attribute.doc_string = None
        if attribute.type in (ir.AttributeType.TENSOR, ir.AttributeType.TENSORS) and not attribute.is_ref():
            for tensor in (attribute.value,) if attribute.type == ir.AttributeType.TENSOR else attribute.value:
                _clear_tensor(tensor)


def _clear(described: _Described) -> None:
    described.metadata_props.clear()
    described.doc_string = None


def _clear_tensor(tensor: ir.TensorProtocol | None) -> None:
    if isinstance(tensor, ir.serde.TensorProtoTensor):  # written again as the message that was read
        tensor.raw.ClearField("doc_string")
        tensor.raw.ClearField("metadata_props")
    elif tensor is not None:
        tensor.doc_string = None
    if tensor is not None:
        tensor.metadata_props.clear()
