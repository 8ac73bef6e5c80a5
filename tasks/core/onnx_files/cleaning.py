"""What is done to a graph before it is written: what is not used, private metadata, labels, names of dims."""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import onnx_ir as ir
from onnx_ir.passes.common import CommonSubexpressionEliminationPass, IdentityEliminationPass, RemoveUnusedNodesPass

from tasks.core.onnx_files.reading import SCOPES, SOURCE
from tasks.core.source_lines import innermost, lines_of_trace, without_folder

ObservedShapes = Sequence[tuple[Mapping[str, int], Sequence[tuple[int, ...]]]]
"""One pair per run: sizes of the dynamic input dims by name, and shapes of all outputs."""
Place = tuple[int, int]
"""Index of an output, and axis."""
_STACK_TRACE = "pkg.torch.onnx.stack_trace"


class OwnBodyOutputsPass(ir.passes.InPlacePass):
    """Let the body of each loop and branch produce its outputs itself, by an Identity where it does not.

    Without its Identity a body returns a value of the graph around it, which ONNX does not allow and which the
    elimination of common subexpressions does not expect: MViT's loops from `tensor_split` failed.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Change bodies in place."""
        for body in model.graph.subgraphs():
            for index, value in enumerate(body.outputs):
                producer = value.producer()
                if producer is None or producer.graph is not body:
                    own = ir.Value(name=f"{value.name}_{body.name}_{index}", type=value.type, shape=value.shape)
                    body.append(ir.node("Identity", inputs=[value], outputs=[own]))
                    body.outputs[index] = own
        return ir.passes.PassResult(model, modified=True)


SIMPLIFY = ir.passes.Sequential(
    IdentityEliminationPass(), OwnBodyOutputsPass(), CommonSubexpressionEliminationPass(), RemoveUnusedNodesPass()
)
"""Removes, in place, nodes of a traced graph that do nothing, are there twice, or are not used."""


def clean_metadata(model: ir.Model) -> None:
    """Remove metadata and doc strings from the model, its functions and inner graphs, and from all they hold.

    Exporters write absolute paths of the builder's file system into them. Of a node stay its module path and, as
    `package/file.py:LINE`, the innermost line of the model's own code in its stack trace. onnx_ir's
    ClearMetadataAndDocStringPass takes those, too, and leaves what values, tensors and the model itself say.
    """
    for described in _described(model):
        kept = _without_private(described) if isinstance(described, ir.Node) else {}
        if isinstance(described, ir.serde.TensorProtoTensor):  # written again as the message that was read
            described.raw.ClearField("doc_string")
            described.raw.ClearField("metadata_props")
        else:
            described.doc_string = None
        if not isinstance(described, ir.Attr):
            described.metadata_props.clear()
            described.metadata_props.update(kept)


def label_parameters(model: ir.Model, labels: Mapping[str, str]) -> dict[str, str]:
    """Rename initializers in place; return the labels whose parameter was found in the graph.

    Args:
        model: is changed.
        labels: names of parameters, by the name that each is to have.
    """
    initializers = model.graph.initializers
    found = {label: parameter for label, parameter in labels.items() if parameter in initializers}
    for label, parameter in found.items():
        value = initializers.pop(parameter)
        value.name = label
        initializers[label] = value
    return found


def name_output_dims(
    model: ir.Model, observed: ObservedShapes, fixed: Mapping[Place, int] = MappingProxyType({})
) -> None:
    """Give open output dims the name of the input dim that they follow, else OUTPUT_AXIS.

    Args:
        model: is changed.
        observed: what at least one run showed.
        fixed: sizes of those that the exporter left open, though they are always the same.
    """
    for index, output in enumerate(model.graph.outputs):
        if output.shape is not None:
            output.shape = ir.Shape(
                dim
                if isinstance(dim, int)
                else _followed(observed, index, axis) or fixed.get((index, axis)) or f"{output.name}_{axis}"
                for axis, dim in enumerate(output.shape)
            )


def unvaried_dims(model: ir.Model, observed: ObservedShapes) -> dict[Place, int]:
    """Output dims that the exporter left open, and that had the same size in every run though each input dim varied.

    Args:
        model: as the exporter made it: shape inference of a traced graph ends at many a reshape.
        observed: what at least one run showed.
    """
    if any(len({sizes[name] for sizes, _ in observed}) < 2 for name in observed[0][0]):
        return {}
    found = {}
    for index, output in enumerate(model.graph.outputs):
        for axis, dim in enumerate(output.shape or ()):
            seen = {shapes[index][axis] for _, shapes in observed if axis < len(shapes[index])}
            if not isinstance(dim, int) and len(seen) == 1:
                found[index, axis] = seen.pop()
    return found


def _followed(observed: ObservedShapes, index: int, axis: int) -> str | None:
    """The first input dim that had the size of this output dim in every run, if the size varied."""
    seen = [(sizes, shapes[index][axis]) for sizes, shapes in observed if axis < len(shapes[index])]
    if len({size for _, size in seen}) < 2:
        return None
    return next((name for name in observed[0][0] if all(sizes[name] == size for sizes, size in seen)), None)


def _without_private(node: ir.Node) -> dict[str, str]:
    source = without_folder(innermost(lines_of_trace(node.metadata_props.get(_STACK_TRACE, ""))))
    return {key: value for key, value in ((SCOPES, node.metadata_props.get(SCOPES)), (SOURCE, source)) if value}


def _described(model: ir.Model) -> Iterator[Any]:
    """All that can have a doc string: the model, graphs, functions, nodes, values, attributes and tensors."""
    parts: list[ir.Graph | ir.Function] = [model.graph, *model.functions.values()]
    parts += [graph for part in parts for graph in part.subgraphs()]
    yield model
    owners: list[ir.Node | ir.Function] = [*model.functions.values(), *(node for part in parts for node in part)]
    for part in parts:
        yield from (part, *part.inputs, *part.outputs)
        if isinstance(part, ir.Graph):
            yield from part.initializers.values()
            yield from (value.const_value for value in part.initializers.values() if value.const_value is not None)
    for owner in owners:
        yield from (owner, *owner.outputs, *owner.attributes.values())
        for attribute in owner.attributes.values():
            if attribute.type == ir.AttributeType.TENSOR and not attribute.is_ref():
                yield attribute.value
            elif attribute.type == ir.AttributeType.TENSORS and not attribute.is_ref():
                yield from attribute.value
