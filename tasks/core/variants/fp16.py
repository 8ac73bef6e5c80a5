"""Half precision: weights and operators, but for nodes whose values exceed its range.

Each value has the precision of the node that computes it, and is cast where another one needs it otherwise; ONNX
Runtime's own converter leads every value through half precision, those between two nodes in float32, too.
"""

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST

from tasks.core.arrays import Array
from tasks.core.onnx_files.reading import graphs_of, inputs_of
from tasks.core.variants.making import Recipe
from tasks.core.variants.nodes import float_values, largest_values

MAX_HALF = 65504.0
_MARGIN = 4.0
"""Other samples than these may be as many times larger."""
_FLOAT32_ONLY = {
    *DEFAULT_OP_BLOCK_LIST, "Cast", "CastLike", "Constant", "ConstantOfShape", "EyeLike", "RandomNormal",
    "RandomUniform", "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear",
}  # fmt: skip
"""Operators that say a dtype themselves, or have no kernel for half precision."""


def make(model: onnx.ModelProto, recipe: Recipe) -> onnx.ModelProto:
    """Convert what lies within the range of half precision; inputs and outputs stay float32 unless asked for.

    Args:
        model: a copy of the proven file, which may be changed.
        recipe: of the variant.
    """
    nodes = candidates(model)
    keep = set(recipe.keep) if recipe.only is None else set(nodes) - set(recipe.only)
    halves = set(nodes) - keep - set(overflowing(model, recipe))
    return _Conversion(model, halves, io_fp16=recipe.terms.io_fp16).run()


def overflowing(model: onnx.ModelProto, recipe: Recipe) -> list[str]:
    """Names of nodes that compute, or are given, values beyond half precision on the samples, or by a constant.

    Args:
        model: the proven file.
        recipe: with samples, if there are.
    """
    large = {tensor.name for tensor in model.graph.initializer if _exceeds(numpy_helper.to_array(tensor))}
    if recipe.samples:
        if "largest" not in recipe.known:
            recipe.known["largest"] = largest_values(model, recipe.samples)
        found: dict[str, float] = recipe.known["largest"]
        large |= {name for name, value in found.items() if not value * _MARGIN <= MAX_HALF}
    return [node.name for node in model.graph.node if large.intersection((*node.input, *node.output))]


def candidates(model: onnx.ModelProto) -> list[str]:
    """Nodes that compute with floats, and may do so in half precision."""
    floats = float_values(model)
    return [n.name for n in model.graph.node if _may_be_half(n) and floats.intersection((*n.input, *n.output))]


def _may_be_half(node: onnx.NodeProto) -> bool:
    return node.op_type not in _FLOAT32_ONLY and node.domain in ("", "ai.onnx") and not any(graphs_of(node))


def _exceeds(array: Array) -> bool:
    return array.dtype.kind == "f" and array.size > 0 and not float(np.abs(array).max()) <= MAX_HALF


class _Conversion:
    """One model, node after node."""

    def __init__(self, model: onnx.ModelProto, halves: set[str], *, io_fp16: bool) -> None:
        self._model, self._halves, self._io = model, halves, io_fp16
        self._weights = {t.name: t for t in model.graph.initializer if t.data_type == TensorProto.FLOAT}
        self._floats = float_values(model) | self._weights.keys()
        captured = {name for n in model.graph.node if any(graphs_of(n)) for name in inputs_of(n)}
        self._kept = captured  # what a branch or a loop takes from outside has no place for a cast
        self._is_half: dict[str, bool] = {}
        """By value: whether it is half precision where it is computed."""
        self._casts: dict[tuple[str, bool], str] = {}
        self._nodes: list[onnx.NodeProto] = []

    def run(self) -> onnx.ModelProto:
        graph = self._model.graph
        for value in graph.input:
            if value.name in self._floats and value.name not in self._weights:
                self._is_half[value.name] = self._io
        nodes = list(graph.node)
        outputs = {value.name for value in graph.output}
        for node in nodes:
            self._convert(node, outputs)
        graph.ClearField("node")
        graph.node.extend(self._nodes)
        graph.ClearField("value_info")
        used = {name for node in graph.node for name in inputs_of(node)} | outputs
        kept = [tensor for tensor in graph.initializer if tensor.name in used]
        graph.ClearField("initializer")
        graph.initializer.extend([*kept, *self._half_weights(used)])
        for value in (*graph.input, *graph.output) if self._io else ():
            if value.name in self._floats and value.name not in self._weights:
                value.type.tensor_type.elem_type = TensorProto.FLOAT16
        return self._model

    def _convert(self, node: onnx.NodeProto, outputs: set[str]) -> None:
        half = node.name in self._halves and not self._kept.intersection(node.output)
        for index, name in enumerate(node.input):
            if name in self._floats:
                node.input[index] = self._as(name, half=half)
        self._nodes.append(node)
        for index, name in enumerate(node.output):
            if name not in self._floats:
                continue
            self._is_half[name] = half
            if name in outputs and half != self._io:
                node.output[index] = inner = f"{name}_{'half' if half else 'float32'}"
                self._casts[name, half] = inner
                self._nodes.append(_cast(inner, name, half=self._io))
                self._is_half[name] = self._io

    def _as(self, name: str, *, half: bool) -> str:
        """The name of a value in the precision that is needed."""
        if name in self._weights:
            return f"{name}_half" if half else name
        if self._is_half.get(name, False) == half:
            return name
        if (name, half) not in self._casts:
            self._casts[name, half] = f"{name}_{'half' if half else 'float32'}"
            self._nodes.append(_cast(name, self._casts[name, half], half=half))
        return self._casts[name, half]

    def _half_weights(self, used: set[str]) -> Iterator[TensorProto]:
        for name, tensor in self._weights.items():
            if f"{name}_half" in used:
                yield numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), f"{name}_half")


def _cast(name: str, target: str, *, half: bool) -> onnx.NodeProto:
    to = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    return helper.make_node("Cast", [name], [target], name=f"cast_{target}", to=to)
