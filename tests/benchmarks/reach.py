"""Which elements of weights no input within the declared ranges reaches, by interval arithmetic over a file.

Layers, sums with constants and activations that only rise are known; what follows from anything else has no bounds.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from tasks.core.arrays import Array
from tasks.core.spec.input_spec import InputSpec

Bounds = tuple[Array, Array]
_RISING: dict[str, Callable[[Array], Array]] = {
    "Relu": lambda x: np.maximum(x, 0),
    "Tanh": np.tanh,
    "Identity": lambda x: x,
    "Flatten": lambda x: x.reshape(1, -1),
}


def is_out_of_reach(original: Path, mutated: Path, specs: Sequence[InputSpec]) -> bool:
    """Are all elements that differ between two files multiplied by what is always zero?

    Args:
        original: the file.
        mutated: a copy of which some weights of matrix products differ.
        specs: of the inputs, with the ranges that were declared.
    """
    first, second = onnx.load(original).graph, onnx.load(mutated).graph
    before, after = _constants(first), _constants(second)
    if before.keys() != after.keys() or list(first.node) != list(second.node):
        return False
    bounds = _bounds(first, before, specs)
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    for node in first.node:
        for name in changed & set(node.input):
            low, high = bounds.get(node.input[0], (None, None))
            if node.op_type not in ("Gemm", "MatMul") or name != node.input[1] or low is None or high is None:
                return False
            reached = ((low != 0) | (high != 0)).reshape(-1)
            if _inputs_first(node, before[name] != after[name])[reached].any():
                return False
    return bool(changed)


def _bounds(graph: Any, constants: dict[str, Array], specs: Sequence[InputSpec]) -> dict[str, Bounds]:
    """The least and the largest value of each element of one row of the batch, where they are known."""
    found: dict[str, Bounds] = {}
    for spec in specs:
        shape = (1, *(dim.size or 1 for dim in spec.dims[1:]))
        if spec.value_range is not None and not any(dim.name for dim in spec.dims[1:]):
            found[spec.name] = (np.full(shape, spec.value_range[0]), np.full(shape, spec.value_range[1]))
    for node in graph.node:
        if node.input[0] not in found:
            continue
        low, high = found[node.input[0]]
        others = [constants.get(name) for name in node.input[1:]]
        if node.op_type in _RISING:
            found[node.output[0]] = _RISING[node.op_type](low), _RISING[node.op_type](high)
        elif node.op_type == "Add" and others[0] is not None:
            found[node.output[0]] = low + others[0], high + others[0]
        elif node.op_type in ("Gemm", "MatMul") and all(other is not None for other in others):
            weight = _inputs_first(node, others[0])
            up, down = np.maximum(weight, 0).astype(float), np.minimum(weight, 0).astype(float)
            bias = others[1] if len(others) > 1 else 0
            found[node.output[0]] = low @ up + high @ down + bias, high @ up + low @ down + bias
    return found


def _inputs_first(node: Any, weight: Array) -> Array:
    """A matrix product's weight, or a mask of it, with the axis of its inputs first."""
    is_transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
    return weight.T if is_transposed else weight


def _constants(graph: Any) -> dict[str, Array]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
