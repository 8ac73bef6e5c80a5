"""What can be said against an ONNX file without running it."""

from collections.abc import Iterator

import numpy as np
import onnx.checker
import onnx.shape_inference
import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from tasks.core.errors import one_line
from tasks.core.onnx_files.lazy_reading import read_without_weights, sidecars, weights_as_inputs
from tasks.core.records.steps import Graph

_RANDOM_OPERATORS = {
    "Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike",
}  # fmt: skip


def structural_findings(graph: Graph) -> list[str]:
    """What `onnx.checker` finds, and nodes that only training needs, in branches, loops and functions, too."""
    findings = []
    proto = read_without_weights(graph.path)
    # sidecars can only be checked by path; inline weights were held against their dims while reading
    checked = str(graph.path) if sidecars(graph.path) else weights_as_inputs(proto).SerializeToString()
    try:
        onnx.checker.check_model(checked, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError) as error:
        findings.append(with_remedy(graph, f"onnx.checker finds: {one_line(error)}"))
    model = ir.from_proto(proto)
    ir.external_data.set_base_dir(model.graph, graph.path.parent)
    return [*findings, *_training_findings(model)]


def with_remedy(graph: Graph, said: str) -> str:
    """What was said against a file, and what to do where it computes in bfloat16.

    Args:
        graph: the file.
        said: by the checker, or by ONNX Runtime.
    """
    if not _computes_in_bfloat16(ir.from_proto(read_without_weights(graph.path))):
        return said
    return (
        f"the file computes in bfloat16, which ONNX Runtime does not do here; export the module in float32 "
        f"(module.float()) or in float16 (module.half()), with inputs of that dtype ({said})"
    )


def _computes_in_bfloat16(model: ir.Model) -> bool:
    """Is anything that it is given, holds or casts to bfloat16?"""
    values = (*model.graph.inputs, *model.graph.initializers.values())
    casts = (node.attributes.get("to") for node in model.graph.all_nodes() if node.op_type == "Cast")
    dtypes = [*(value.dtype for value in values), *(cast.as_int() for cast in casts if cast is not None)]
    return ir.DataType.BFLOAT16 in dtypes


def _training_findings(model: ir.Model) -> Iterator[str]:
    """A sentence for each node that draws random numbers or is in training mode."""
    for function in model.functions.values():
        function.opset_imports.clear()  # InlinePass refuses other versions, which make no difference here
        for node in function.all_nodes():
            node.name = _title(node)
    try:
        InlinePass()(model)
    except (ir.passes.PassError, ir.passes.PreconditionError) as error:
        yield f"its functions can't be searched for nodes in training mode: {one_line(error.__cause__ or error)}"
    for node in model.graph.all_nodes():
        what = f"{_title(node)} ({node.op_type})"
        if node.op_type in _RANDOM_OPERATORS:
            yield f"{what} draws random numbers, so the file does not repeat its own answers"
        elif _is_in_training_mode(node):
            yield f"{what} is in training mode; call model.eval() before the export"


def _title(node: ir.Node) -> str:
    """Its name, else that of its first output; a file may lack both."""
    return next((name for name in (node.name, *(value.name for value in node.outputs)) if name), node.op_type)


def _first(node: ir.Node) -> ir.Value | None:
    """Its first input; None: a file gives it none."""
    return node.inputs[0] if node.inputs else None


def _is_in_training_mode(node: ir.Node) -> bool:
    """A BatchNormalization of a batch's statistics, not of weights', or a Dropout that is not known to be off."""
    if node.op_type == "BatchNormalization":
        is_on = "training_mode" in node.attributes and bool(node.attributes["training_mode"].value)
        return is_on and not _is_of_weights(_first(node))
    return node.op_type == "Dropout" and len(node.inputs) > 2 and _may_be_true(node.inputs[2])


def _is_of_weights(value: ir.Value | None) -> bool:
    """Is a value an initializer, or one that was reshaped, as where a convolution standardises its weights?"""
    passed = set[ir.Value]()
    while value is not None and value not in passed and (node := value.producer()) is not None:
        if node.op_type not in ("Reshape", "Identity"):
            break
        passed.add(value)
        value = _first(node)
    return value is not None and value.is_initializer() and not value.is_graph_input()


def _may_be_true(value: ir.Value | None) -> bool:
    """Is a value true, or not known before the model runs?"""
    passed = set[ir.Value]()  # a value that depends on itself is invalid, but may be in a file
    while value is not None and value not in passed:
        passed.add(value)
        node = value.producer()
        if value.const_value is not None:
            return bool(np.any(value.const_value.numpy()))
        if node is not None and node.op_type == "Constant":
            return any(np.any(np.asarray(attribute.value)) for attribute in node.attributes.values())
        if node is None or node.op_type not in ("Cast", "Identity"):
            return True
        value = _first(node)
    return False
