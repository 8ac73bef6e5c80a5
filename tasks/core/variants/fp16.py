"""Half precision: weights and operators, but for nodes whose values exceed its range."""

import numpy as np
import onnx
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

from tasks.core.arrays import Array
from tasks.core.variants.making import Recipe
from tasks.core.variants.nodes import largest_values

MAX_HALF = 65504.0
_MARGIN = 4.0
"""Other samples than these may be as many times larger."""


def make(model: onnx.ModelProto, recipe: Recipe) -> onnx.ModelProto:
    """Convert what lies within the range of half precision; inputs and outputs stay float32 unless asked for."""
    nodes = candidates(model)
    keep = set(recipe.keep) if recipe.only is None else set(nodes) - set(recipe.only)
    converted: onnx.ModelProto = convert_float_to_float16(
        model, keep_io_types=not recipe.terms.io_fp16, node_block_list=[*keep, *overflowing(model, recipe)]
    )
    return converted


def overflowing(model: onnx.ModelProto, recipe: Recipe) -> list[str]:
    """Names of nodes that compute, or are given, values beyond half precision on the samples, or by a constant."""
    large = {t.name for t in model.graph.initializer if _exceeds(onnx.numpy_helper.to_array(t))}
    if recipe.samples:
        found = largest_values(model, recipe.samples)
        large |= {name for name, value in found.items() if not value * _MARGIN <= MAX_HALF}
    return [node.name for node in model.graph.node if large.intersection((*node.input, *node.output))]


def candidates(model: onnx.ModelProto) -> list[str]:
    """All nodes but those that the converter leaves alone."""
    return [node.name for node in model.graph.node if node.op_type not in DEFAULT_OP_BLOCK_LIST]


def _exceeds(array: Array) -> bool:
    return array.dtype.kind == "f" and array.size > 0 and not float(np.abs(array).max()) <= MAX_HALF
