"""Each weight and each grid of activations is held against what the proven file has; a repair tells what it costs."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tasks.core.records.variants import Suspect, VariantTerms
from tasks.core.variants.conversion import repaired
from tasks.core.variants.data import Data
from tasks.core.variants.judgement import Judge
from tasks.core.variants.making import Recipe, made_quietly
from tasks.core.variants.running import answers


def _found(judge: Judge, model: onnx.ModelProto, *, by_channel: bool) -> tuple[tuple[Suspect, ...], float, float]:
    assert judge.evaluation is not None
    batch = next(iter(judge.evaluation)).rows(16)
    (wanted,) = answers(judge.source.SerializeToString(), [batch])
    return repaired(judge.source, model.SerializeToString(), batch, wanted=wanted, by_channel=by_channel)


def _made(kind: str, judge: Judge, calibration: Data) -> onnx.ModelProto:
    return made_quietly(judge.source, Recipe(VariantTerms(kind=kind), list(calibration)))


def _change(model: onnx.ModelProto, ending: str, change: Callable[[np.ndarray], np.ndarray]) -> str:
    tensor = next(t for t in model.graph.initializer if t.name.endswith(ending))
    array = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array(change(array).astype(array.dtype), tensor.name))
    return str(tensor.name)


@pytest.mark.parametrize("kind", ["int8", "int8-static"])
def test_a_sound_file_has_nothing_to_repair(kind: str, judge: Judge, calibration: Data) -> None:
    """No suspect, or one whose repair betters nothing."""
    suspects, before, after = _found(judge, _made(kind, judge, calibration), by_channel=kind == "int8-static")
    assert not suspects or before < 1.05 * after


@pytest.mark.parametrize(
    ("kind", "ending"),
    [("int8", "_quantized"), ("int8", "weight_Transposed_quantized"), ("int8-static", "weight_quantized")],
)
def test_a_weight_that_is_off_is_named(kind: str, ending: str, judge: Judge, calibration: Data) -> None:
    """Clipped steps: the weight is the worst, and its repair takes most of the error away, of a Gemm's, too."""
    made = _made(kind, judge, calibration)
    name = _change(made, ending, lambda steps: np.clip(steps, -40, 40))
    suspects, before, after = _found(judge, made, by_channel=kind == "int8-static")
    assert (suspects[0].name, suspects[0].kind) == (name, "weight")
    assert before > 5 * after


def test_a_range_that_is_too_small_is_named(judge: Judge, calibration: Data) -> None:
    """Half the scale of the picture's grid clips what is bright."""
    model = _made("int8-static", judge, calibration)
    grid = next(node for node in model.graph.node if node.op_type == "QuantizeLinear")
    _change(model, grid.input[1], lambda scale: scale / 2)
    suspects, before, after = _found(judge, model, by_channel=True)
    assert (suspects[0].name, suspects[0].kind) == (grid.input[0], "activation")
    assert before > 5 * after
