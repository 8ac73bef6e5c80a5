"""How large the values are that a file computes, as ONNX's shape inference tells before anything is run."""

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path

import onnx
import onnx.shape_inference
import onnx_ir as ir
from onnx.external_data_helper import uses_external_data

from tasks.core.allowance import allowed_bytes, check_memory
from tasks.core.memory_guard import guarded
from tasks.core.onnx_files.lazy_reading import read_without_weights, weights_as_inputs

_GROWTH = 256
"""Multiple of the bytes of its inputs and of the file that a value may have beyond what is allowed: wide layers do."""


def check_values(path: Path, shapes: Mapping[str, Sequence[int]]) -> None:
    """Refuse a file of which a value takes far more memory than its inputs and weights.

    Args:
        path: of the file.
        shapes: of its inputs, by name in the file; others stay unknown.

    Raises:
        SpecError: it takes more than is allowed.
    """
    model = weights_as_inputs(read_without_weights(path))
    for value in model.graph.input:
        if value.name in shapes and value.type.HasField("tensor_type"):
            del value.type.tensor_type.shape.dim[:]
            for size in shapes[value.name]:
                value.type.tensor_type.shape.dim.add(dim_value=size)
    for value in model.graph.output:  # what they claim is held against the module later
        value.type.tensor_type.ClearField("shape")
    del model.graph.value_info[:]
    given = sum(map(_bytes_of, model.graph.input)) + path.stat().st_size
    for follows_values in (False, True):  # which finds more, and may itself take what a file only claims
        try:
            with guarded(allowed_bytes()):
                inferred = onnx.shape_inference.infer_shapes(model, data_prop=follows_values)
        except Exception:  # the checker and ONNX Runtime say what is wrong with it
            return
        name, num_bytes = max(_sizes(inferred.graph), key=lambda found: found[1], default=("", 0))
        way_out = "export it so that it computes smaller ones"
        check_memory(num_bytes - _GROWTH * given, f"The value {name} of {path.name} takes", way_out=way_out)


def _sizes(graph: onnx.GraphProto) -> Iterator[tuple[str, int]]:
    yield from ((value.name, _bytes_of(value)) for value in (*graph.value_info, *graph.output))
    for tensor in graph.initializer:
        if not uses_external_data(tensor):
            yield tensor.name, prod(tensor.dims) * _item_bytes(tensor.data_type)
    for attribute in (attribute for node in graph.node for attribute in node.attribute):
        for inner in (attribute.g, *attribute.graphs):
            yield from _sizes(inner)


def _bytes_of(value: onnx.ValueInfoProto) -> int:
    """At least so many; dims that are not known count once."""
    tensor = value.type.tensor_type
    return int(prod(dim.dim_value or 1 for dim in tensor.shape.dim)) * _item_bytes(tensor.elem_type)


def _item_bytes(data_type: int) -> int:
    try:
        return max(1, ir.DataType(data_type).bitwidth // 8)
    except (TypeError, ValueError):  # text, or unknown
        return 1
