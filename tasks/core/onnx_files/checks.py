"""What can be said against an ONNX file without running it."""

import onnx
import onnx.checker
import onnx.shape_inference

from tasks.core.errors import one_line
from tasks.core.onnx_files.skeletons import read_skeleton, sidecars, without_weights
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
    """What `onnx.checker` finds, and nodes that only training needs."""
    findings = []
    model = read_skeleton(graph.path)
    # sidecars can only be checked by path; inline weights were held against their dims while reading
    checked = str(graph.path) if sidecars(graph.path) else without_weights(model).SerializeToString()
    try:
        onnx.checker.check_model(checked, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError) as error:
        findings.append(f"onnx.checker finds: {one_line(error)}")
    for node in model.graph.node:
        what = f"{node.name or node.output[0]} ({node.op_type})"
        if node.op_type in _RANDOM_OPERATORS:
            findings.append(f"{what} draws random numbers, so the file does not repeat its own answers")
        elif _is_in_training_mode(node, model.graph):
            findings.append(f"{what} is in training mode; call model.eval() before the export")
    return findings


def _is_in_training_mode(node: onnx.NodeProto, graph: onnx.GraphProto) -> bool:
    """A Dropout whose third input is true, or a BatchNormalization of batch statistics."""
    if node.op_type == "BatchNormalization":
        return any(a.name == "training_mode" and a.i == 1 for a in node.attribute)
    if node.op_type != "Dropout" or len(node.input) < 3 or not node.input[2]:
        return False
    constants = {t.name: t for t in graph.initializer}
    for other in graph.node:
        if other.op_type == "Constant" and other.output[0] == node.input[2]:
            constants[node.input[2]] = other.attribute[0].t
    mode = constants.get(node.input[2])
    return mode is None or bool(onnx.numpy_helper.to_array(mode))
