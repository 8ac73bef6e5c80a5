"""Clean a graph of what is private or accidental, and write it as deterministic bytes, weights streamed."""

from collections.abc import Iterable, Mapping

import onnx_ir as ir

from tasks.core.onnx_files.reading import SCOPES
from tasks.core.source_lines import innermost, lines_of_trace, without_folder


def clean(model: ir.Model) -> None:
    """Drop what the exporter wrote about the builder's file system; keep each node's module path.

    Of the stack trace stays the innermost line of the model's own code, as `package/file.py:LINE`.
    """
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    for value in (*model.graph.inputs, *model.graph.outputs, *model.graph.initializers.values()):
        value.metadata_props.clear()
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        trace = node.metadata_props.get("pkg.torch.onnx.stack_trace", "")
        scopes = node.metadata_props.get(SCOPES)
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()
        if scopes:
            node.metadata_props[SCOPES] = scopes
        if source := without_folder(innermost(lines_of_trace(trace))):
            node.metadata_props["assay.source"] = source
    for function in model.functions.values():
        function.metadata_props.clear()
        for node in function:
            node.metadata_props.clear()


def label_parameters(model: ir.Model, labels: Iterable[str], parameters: Iterable[str]) -> dict[str, str]:
    """Rename initializers: the i-th label for the i-th parameter; return label to parameter of those found."""
    found: dict[str, str] = {}
    initializers = model.graph.initializers
    for label, parameter in zip(labels, parameters, strict=False):
        value = initializers.get(parameter)
        if value is not None:
            initializers.pop(parameter)
            value.name = label
            initializers[label] = value
            found[label] = parameter
    return found


def name_output_dims(model: ir.Model, observed: list[tuple[Mapping[str, int], list[tuple[int, ...]]]]) -> None:
    """Give dynamic output dims the name of the input dim that they follow, else OUTPUT_AXIS.

    Args:
        model: its graph is changed in place.
        observed: sizes of the dynamic input dims, and the shapes of the outputs at them.
    """
    for index, output in enumerate(model.graph.outputs):
        if output.shape is None:
            continue
        dims: list[int | str] = []
        for axis, dim in enumerate(output.shape):
            seen = [(sizes, shapes[index][axis]) for sizes, shapes in observed if axis < len(shapes[index])]
            follows = [name for name in observed[0][0] if all(sizes[name] == size for sizes, size in seen)]
            varies = len({size for _, size in seen}) > 1
            dims.append(dim if isinstance(dim, int) else follows[0] if follows and varies else f"{output.name}_{axis}")
        output.shape = ir.Shape(dims)
