"""What can be said against an ONNX file without running it."""

from collections.abc import Iterator

import onnx.checker
import onnx.shape_inference
import onnx_ir as ir

from tasks.core.errors import one_line
from tasks.core.onnx_files.call_sites import CallSites
from tasks.core.onnx_files.lazy_reading import read_without_weights, sidecars, weights_as_inputs
from tasks.core.records.steps import Graph

_RANDOM_OPERATORS = {
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
}


def structural_findings(graph: Graph) -> list[str]:
    """What `onnx.checker` finds, and nodes that only training needs, in branches, loops and functions, too."""
    findings = []
    proto = read_without_weights(graph.path)
    # sidecars can only be checked by path; inline weights were held against their dims while reading
    checked = str(graph.path) if sidecars(graph.path) else weights_as_inputs(proto).SerializeToString()
    try:
        onnx.checker.check_model(checked, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError) as error:
        findings.append(f"onnx.checker finds: {one_line(error)}")
    model = ir.from_proto(proto)
    ir.external_data.set_base_dir(model.graph, graph.path.parent)
    return [*findings, *dict.fromkeys(_training_findings(model))]


def _training_findings(model: ir.Model) -> Iterator[str]:
    """A sentence for each node that draws random numbers or is in training mode."""
    sites = CallSites(model)
    for node in sites.nodes:
        what = f"{node.name or node.outputs[0].name} ({node.op_type})"
        if node.op_type in _RANDOM_OPERATORS:
            yield f"{what} draws random numbers, so the file does not repeat its own answers"
        elif _is_in_training_mode(node, sites):
            yield f"{what} is in training mode; call model.eval() before the export"


def _is_in_training_mode(node: ir.Node, sites: CallSites) -> bool:
    """A Dropout whose third input is not known to be false, or a BatchNormalization of batch statistics."""
    if node.op_type == "BatchNormalization":
        return any(attribute.value for attribute in sites.attributes(node, "training_mode"))
    mode = node.inputs[2] if node.op_type == "Dropout" and len(node.inputs) > 2 else None
    return mode is not None and sites.may_be_true(mode)
