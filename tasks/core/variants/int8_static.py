"""Weights as int8, one scale a channel, and activations as uint8 with ranges from a calibration, by ONNX Runtime.

A node stays in float32 together with what follows it up to the next node with weights: a convolution without its
activation would have its raw sums quantised, which costs more than it saves.
"""

from collections.abc import Sequence
from pathlib import Path

import onnx
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.calibrate import create_calibrator, save_tensors_data

from tasks.core.errors import SpecError
from tasks.core.runtime.work_folders import work_folder
from tasks.core.variants.data import Batch
from tasks.core.variants.making import Recipe
from tasks.core.variants.nodes import sections
from tasks.core.variants.quantising import Reader, in_files, renamed

_METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "percentile": CalibrationMethod.Percentile,
    "entropy": CalibrationMethod.Entropy,
}
_OPTIONS = {"entropy": {"num_bins": 1024, "num_quantized_bins": 256}}
"""With ONNX Runtime's own 128 bins of 128 there is but one range to choose from: the whole one."""
_WEIGHTED = ("Conv", "ConvTranspose", "MatMul", "Gemm", "Gather", "EmbedLayerNormalization")


def make(model: onnx.ModelProto, recipe: Recipe) -> onnx.ModelProto:
    """Quantise all but the nodes that are kept; a SpecError without samples to calibrate with.

    Args:
        model: a copy of the proven file, which may be changed.
        recipe: of the variant.
    """
    if not recipe.samples:
        raise SpecError("The variant int8-static needs --calibrate DATA: samples that give its ranges.")
    parts = sections(model, candidates(model))

    def names(kept: Sequence[str]) -> list[str]:
        return renamed([name for node in kept for name in parts.get(node, (node,))])

    def quantise(source: str, target: str) -> None:
        ranges = Path(target).with_name("ranges.json")
        if "ranges" in recipe.known:
            ranges.write_bytes(recipe.known["ranges"])
        else:
            recipe.known["ranges"] = _ranges(source, recipe.samples, method=recipe.terms.method, path=ranges)
        quantize_static(
            source, target, calibration_cache_path=ranges, quant_format=QuantFormat.QDQ, per_channel=True,
            calibrate_method=_METHODS[recipe.terms.method], activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8, nodes_to_exclude=names(recipe.keep),
            nodes_to_quantize=names(recipe.only or ()) or None,
        )  # fmt: skip

    return in_files(model, quantise)


def candidates(model: onnx.ModelProto) -> list[str]:
    """Nodes with weights."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [n.name for n in model.graph.node if n.op_type in _WEIGHTED and weights.intersection(n.input)]


def _ranges(source: str, samples: Sequence[Batch], *, method: str, path: Path) -> bytes:
    """The ranges of all values, as `quantize_static` reads them; batch by batch, as all values at once may not fit."""
    with work_folder() as folder:
        calibrator = create_calibrator(
            source, augmented_model_path=str(folder / "watched.onnx"), calibrate_method=_METHODS[method],
            extra_options=_OPTIONS.get(method, {}),
        )  # fmt: skip
        for batch in samples:
            calibrator.collect_data(Reader([batch]))
        save_tensors_data(calibrator.compute_data(), path)
    return path.read_bytes()
