"""Weights as int8, activations quantised batch by batch as the file runs, by ONNX Runtime."""

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic

from tasks.core.variants.making import Recipe
from tasks.core.variants.quantising import in_files, renamed

OPERATORS = ("Conv", "MatMul", "Gemm", "Attention", "LSTM", "Gather", "EmbedLayerNormalization")


def make(model: onnx.ModelProto, recipe: Recipe) -> onnx.ModelProto:
    """Quantise all weights but those of the nodes that are kept.

    Args:
        model: a copy of the proven file, which may be changed.
        recipe: of the variant.
    """

    def quantise(source: str, target: str) -> None:
        quantize_dynamic(
            source, target, weight_type=QuantType.QInt8, per_channel=False,
            nodes_to_exclude=renamed(recipe.keep), nodes_to_quantize=renamed(recipe.only or ()) or None,
            op_types_to_quantize=list(OPERATORS),
        )  # fmt: skip

    return in_files(model, quantise)


def candidates(model: onnx.ModelProto) -> list[str]:
    """Nodes with weights."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [n.name for n in model.graph.node if n.op_type in OPERATORS and weights.intersection(n.input)]
