"""Quantised or half-precision files that somebody else made, so that they can be held against the proven file."""

from collections.abc import Sequence
from pathlib import Path

import onnx

from tasks.core.errors import SpecError
from tasks.core.onnx_files.operators import counts_in
from tasks.core.records.steps import Graph, TensorType
from tasks.core.records.variants import Kind
from tasks.core.variants.making import read_source

_DYNAMIC = ("DynamicQuantizeLinear", "com.microsoft::DynamicQuantizeMatMul", "com.microsoft::DynamicQuantizeLSTM")
_INT8 = (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)
_STATIC = ("QuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearMatMul")


def read_foreign(path: Path, inputs: Sequence[TensorType]) -> tuple[onnx.ModelProto, Kind]:
    """Read a file, its inputs named as the proven file's: by name, else by position; and tell its kind.

    Args:
        path: of the file.
        inputs: of the proven file.

    Raises:
        SpecError: it has other inputs, or nothing in it is of lower precision.
    """
    model = read_source(path)
    weights = {tensor.name for tensor in model.graph.initializer}
    names = [value.name for value in model.graph.input if value.name not in weights]
    wanted = [value.name for value in inputs]
    if len(names) != len(wanted):
        raise SpecError(f"{path.name} takes {', '.join(names)}, but the proven file {', '.join(wanted)}.")
    if sorted(names) != sorted(wanted):
        _rename(model.graph, dict(zip(names, wanted, strict=True)))
    return model, _kind_of(model, path)


def mismatch(graph: Graph, proven: Graph) -> str:
    """How the outputs differ in number or rank; empty: they do not.

    Args:
        graph: of the file.
        proven: of the proven one.
    """
    ranks, wanted = ([len(value.dims) for value in g.outputs] for g in (graph, proven))
    return "" if ranks == wanted else f"its outputs have ranks {ranks}, the proven file's {wanted}"


def _kind_of(model: onnx.ModelProto, path: Path) -> Kind:
    operators = counts_in(model)
    if any(name in operators for name in _DYNAMIC):
        return "int8"
    if any(name in operators for name in _STATIC):
        return "int8-static"
    if any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in model.graph.initializer):
        return "fp16"
    if any(tensor.data_type in _INT8 and len(tensor.dims) > 1 for tensor in model.graph.initializer):
        return "int8"  # weights alone, which the graph turns to floats by itself
    raise SpecError(f"{path.name} is neither quantised nor half precision; leave --evaluate out to have it proven.")


def _rename(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    taken = {name for node in graph.node for name in node.output} & set(names.values())
    if taken:
        raise SpecError(f"{', '.join(sorted(taken))} is computed in this file, but an input of the proven one.")
    for value in graph.input:
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
