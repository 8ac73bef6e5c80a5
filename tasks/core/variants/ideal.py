"""The least that a precision costs: an ideal simulation of it, run in float32.

Weights have the scales with the least error, activations the ranges that they truly have on the very samples that are
evaluated. What is far above it was converted badly.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tasks.core.arrays import Array
from tasks.core.records.variants import VariantTerms
from tasks.core.variants import fp16, int8_static
from tasks.core.variants.data import Batch
from tasks.core.variants.making import Recipe, made_quietly
from tasks.core.variants.nodes import float_values

_SHRINKING = np.linspace(1.0, 0.4, 25)
"""Scales that are tried, as shares of the one that reaches the largest weight."""
_MAX_INT8 = 127


def ideal(source: onnx.ModelProto, terms: VariantTerms, samples: list[Batch], *, keep: tuple[str, ...]) -> bytes:
    """A file that simulates a precision as well as it can be; it is to be run without optimisation.

    Args:
        source: the proven file.
        terms: with the kind.
        samples: that are evaluated.
        keep: names of nodes that stay in float32.
    """
    model = onnx.ModelProto()
    model.CopyFrom(source)
    if terms.kind == "fp16":
        kept = (*keep, *fp16.overflowing(model, Recipe(terms, samples)))
        return bytes(_rounded_to_half(model, kept).SerializeToString())
    _round_weights(model, keep)
    static = terms.model_copy(update={"kind": "int8-static", "method": "minmax"})
    return bytes(made_quietly(model, Recipe(static, samples, keep=keep)).SerializeToString())


def _round_weights(model: onnx.ModelProto, keep: tuple[str, ...]) -> None:
    """Round each weight to 8 bits, with the scale of each channel that has the least error."""
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    names = set(int8_static.candidates(model)) - set(keep)
    for node in (node for node in model.graph.node if node.name in names):
        name = next((n for n in node.input[1:] if n in weights and len(weights[n].dims) > 1), None)
        if name is not None and weights[name].data_type == TensorProto.FLOAT:
            axis = _channel_axis(node, weights[name])
            rounded = rounded_by_channel(numpy_helper.to_array(weights[name]), axis=axis)
            weights[name].CopyFrom(numpy_helper.from_array(rounded, name))


def rounded_by_channel(weight: Array, *, axis: int) -> Array:
    """The weight on a grid of 255 steps a channel, symmetric, at the scale with the least squared error.

    Args:
        weight: float32.
        axis: of the channels.
    """
    moved = np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1).astype(np.float64)
    largest = np.abs(moved).max(axis=1, keepdims=True)
    best, least = moved.copy(), np.full((len(moved), 1), np.inf)
    for share in _SHRINKING:
        scale = np.where(largest > 0, largest * share / _MAX_INT8, 1.0)
        grid = np.clip(np.round(moved / scale), -_MAX_INT8, _MAX_INT8) * scale
        error = np.square(grid - moved).sum(axis=1, keepdims=True)
        best, least = np.where(error < least, grid, best), np.minimum(error, least)
    shape = np.moveaxis(weight, axis, 0).shape
    return np.ascontiguousarray(np.moveaxis(best.reshape(shape), 0, axis).astype(np.float32))


def _channel_axis(node: onnx.NodeProto, weight: onnx.TensorProto) -> int:
    if node.op_type == "MatMul":
        return len(weight.dims) - 1
    if node.op_type == "Gemm":
        return 0 if any(a.name == "transB" and a.i for a in node.attribute) else 1
    return 1 if node.op_type == "ConvTranspose" else 0


def _rounded_to_half(model: onnx.ModelProto, keep: tuple[str, ...]) -> onnx.ModelProto:
    """Round each float constant and what each node gives to half precision and back."""
    exempt = {name for node in model.graph.node if node.name in keep for name in node.input}
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and tensor.name not in exempt:
            half = np.clip(numpy_helper.to_array(tensor), -65504, 65504).astype(np.float16).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(half, tensor.name))
    floats = float_values(model)
    nodes = list(model.graph.node)
    model.graph.ClearField("node")
    for node in nodes:
        names = [name for name in node.output if name in floats and node.name not in keep]
        renamed = {name: f"{name}_float32" for name in names}
        node.output[:] = [renamed.get(name, name) for name in node.output]
        model.graph.node.append(node)
        for name in names:
            model.graph.node.append(helper.make_node("Cast", [renamed[name]], [f"{name}_half"], to=TensorProto.FLOAT16))
            model.graph.node.append(helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT))
    return model
