"""Weights as int8, one scale a channel, and activations as uint8 with ranges from a calibration, by ONNX Runtime."""

import onnx
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

from tasks.core.errors import SpecError
from tasks.core.variants.making import Recipe
from tasks.core.variants.quantising import Reader, in_files, renamed

_METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "percentile": CalibrationMethod.Percentile,
    "entropy": CalibrationMethod.Entropy,
}
_WEIGHTED = ("Conv", "ConvTranspose", "MatMul", "Gemm", "Gather", "EmbedLayerNormalization")


def make(model: onnx.ModelProto, recipe: Recipe) -> onnx.ModelProto:
    """Quantise all but the nodes that are kept; a SpecError without samples to calibrate with.

    Args:
        model: a copy of the proven file, which may be changed.
        recipe: of the variant.
    """
    if not recipe.samples:
        raise SpecError("The variant int8-static needs --calibrate DATA: samples that give its ranges.")

    def quantise(source: str, target: str) -> None:
        quantize_static(
            source, target, Reader(recipe.samples), quant_format=QuantFormat.QDQ, per_channel=True,
            calibrate_method=_METHODS[recipe.terms.method], activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8, nodes_to_exclude=renamed(recipe.keep),
            nodes_to_quantize=renamed(recipe.only or ()) or None,
        )  # fmt: skip

    return in_files(model, quantise)


def candidates(model: onnx.ModelProto) -> list[str]:
    """Nodes with weights."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [n.name for n in model.graph.node if n.op_type in _WEIGHTED and weights.intersection(n.input)]
