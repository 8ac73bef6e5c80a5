"""How far two files differ where rounding plays no part: both computed in float64 by onnx's own evaluator."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.reference

from tasks.core.arrays import EPS32, Array
from tasks.core.inputs.inputs import Inputs


def difference_in_float64(original: Path, mutated: Path, inputs: Inputs) -> float:
    """Largest relative difference between two files computed in float64, over probes, outputs and slices.

    Returns:
        rms(mutated - original) / rms(original); inf where shapes, integers or what is finite differ; NaN where
        onnx's reference evaluator can't compute the graph.
    """
    try:
        first, second = (onnx.reference.ReferenceEvaluator(_in_float64(path)) for path in (original, mutated))
        largest = 0.0
        for probe in inputs.probes:
            arrays = _raised(inputs.arrays(probe))
            pairs = zip(_run(first, arrays), _run(second, arrays), strict=True)
            largest = max([largest, *(_relative_difference(a, b) for a, b in pairs)])
            if largest > EPS32:
                break
    except Exception as error:  # the evaluator raises what numpy and its own operators raise
        print(f"    no float64 of {mutated.name}: {type(error).__name__}: {str(error)[:120]}", flush=True)
        return float("nan")
    return largest


def _run(evaluator: Any, arrays: Mapping[str, Array]) -> list[Array]:
    with np.errstate(all="ignore"):
        return [np.asarray(a) for a in evaluator.run(None, {n: arrays[n] for n in evaluator.input_names})]


def _raised(arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {name: a.astype(np.float64) if a.dtype == np.float32 else a for name, a in arrays.items()}


def _relative_difference(a: Array, b: Array) -> float:
    if a.shape != b.shape or (a.dtype.kind != "f" and not np.array_equal(a, b)):
        return float("inf")
    if a.dtype.kind != "f" or not a.size:
        return 0.0
    if not np.array_equal(np.isfinite(a), np.isfinite(b)):
        return float("inf")
    a, b = np.nan_to_num(a), np.nan_to_num(b)
    axes: list[tuple[int, ...]] = [tuple(range(a.ndim))]
    axes += [tuple(other for other in range(a.ndim) if other != axis) for axis in range(1, a.ndim)]
    largest = 0.0
    for others in axes:
        change, scale = (np.sqrt(np.mean(np.square(v), axis=others)) for v in (b - a, a))
        tiny = np.finfo(np.float64).tiny
        largest = max(largest, float(np.max(np.where(change == 0, 0, change / np.maximum(scale, tiny)))))
    return largest


def _in_float64(path: Path) -> onnx.ModelProto:
    """The graph with float64 in place of float32."""
    model = onnx.load(path)
    graph = model.graph
    del graph.value_info[:]
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT:
            value.type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    for tensor in graph.initializer:
        _raise_tensor(tensor)
    for node in graph.node:
        if node.op_type == "ConstantOfShape" and not node.attribute:
            zero = onnx.numpy_helper.from_array(np.zeros(1, dtype=np.float32))  # float32 by default
            node.attribute.append(onnx.helper.make_attribute("value", zero))
        for attribute in node.attribute:
            if attribute.name == "to" and attribute.i == onnx.TensorProto.FLOAT:
                attribute.i = onnx.TensorProto.DOUBLE
            if attribute.HasField("t"):
                _raise_tensor(attribute.t)
    return model


def _raise_tensor(tensor: onnx.TensorProto) -> None:
    if tensor.data_type == onnx.TensorProto.FLOAT:
        values = onnx.numpy_helper.to_array(tensor).astype(np.float64)
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
