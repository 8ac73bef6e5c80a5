"""Good variants of the digits pass, and each way of making a bad one is seen."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tasks.core.records.steps import Graph
from tasks.core.records.variants import VariantEvidence, VariantTerms
from tasks.core.variants import int8_static
from tasks.core.variants.data import Batch, Data
from tasks.core.variants.ideal import rounded_by_channel
from tasks.core.variants.judgement import Judge
from tasks.core.variants.making import Recipe, made_quietly, make_file
from tasks.core.variants.nodes import sections
from tasks.core.variants.running import answers, relative_error

Mutation = Callable[[onnx.ModelProto], None]


def _judged(judge: Judge, terms: VariantTerms, recipe: Recipe, mutate: Mutation | None = None) -> VariantEvidence:
    model = made_quietly(judge.source, recipe)
    if mutate is not None:
        mutate(model)
    known = VariantEvidence(
        verdict="inconclusive", reasons=(), source="digits version 1", source_sha256="", terms=terms,
        evaluation=judge.evaluation and judge.evaluation.record,
    )  # fmt: skip
    return judge.judge(model.SerializeToString(), recipe, known)


def _initializers(model: onnx.ModelProto, ending: str) -> list[onnx.TensorProto]:
    return [tensor for tensor in model.graph.initializer if tensor.name.endswith(ending)]


def _second_weight(model: onnx.ModelProto) -> onnx.TensorProto:
    return [t for t in model.graph.initializer if len(t.dims) == 4 and t.data_type == onnx.TensorProto.INT8][1]


def _change(tensor: onnx.TensorProto, change: Callable[[np.ndarray], np.ndarray]) -> None:
    array = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array(change(array).astype(array.dtype), tensor.name))


def wrong_scale(model: onnx.ModelProto) -> None:
    """The scale of one weight is a tenth too large."""
    _change(next(t for t in _initializers(model, "_scale") if t.dims and t.dims[0] > 1), lambda scale: scale * 1.1)


def swapped_zero_point(model: onnx.ModelProto) -> None:
    """Activations are centred elsewhere."""
    for tensor in _initializers(model, "_zero_point")[:1]:
        _change(tensor, lambda zero: zero + 13)


def saturating_weights(model: onnx.ModelProto) -> None:
    """All weights of a layer are half as large as they may be."""
    _change(_second_weight(model), lambda weight: np.clip(weight, -40, 40))


def four_bits(model: onnx.ModelProto) -> None:
    """One layer has 16 steps."""
    _change(_second_weight(model), lambda weight: np.round(weight / 16) * 16)


@pytest.mark.parametrize("kind", ["fp16", "int8", "int8-static"])
def test_a_good_variant_passes(kind: str, judge: Judge, calibration: Data) -> None:
    """It claims a loss on named data, its error is what its precision allows, and nodes are ranked."""
    terms = VariantTerms(kind=kind)
    evidence = _judged(judge, terms, Recipe(terms, list(calibration)))
    assert evidence.verdict == "pass", evidence.reasons
    assert evidence.claim == "loses at most 0.85% accuracy (95 %) on evaluation.npz, 450 samples"
    assert evidence.precision is not None
    assert 0.5 < evidence.precision.ratio < 1.5
    assert [loss.error for loss in evidence.where] == sorted((loss.error for loss in evidence.where), reverse=True)
    assert evidence.where[0].error > 0


@pytest.mark.parametrize("mutate", [wrong_scale, swapped_zero_point, saturating_weights, four_bits])
def test_a_bad_conversion_fails(mutate: Mutation, judge: Judge, calibration: Data) -> None:
    """Though hardly a digit flips: the error is a multiple of what int8 allows."""
    terms = VariantTerms(kind="int8-static")
    evidence = _judged(judge, terms, Recipe(terms, list(calibration)), mutate)
    assert evidence.verdict == "fail"
    assert "converted badly" in evidence.reasons[0]


def test_a_stale_calibration_fails(judge: Judge, calibration: Data) -> None:
    """Ranges of pictures a quarter as bright clip the others."""
    dark = [Batch({"image": batch.arrays["image"] / 4}, None) for batch in calibration]
    terms = VariantTerms(kind="int8-static")
    assert _judged(judge, terms, Recipe(terms, dark)).verdict == "fail"


def test_without_evaluation_nothing_passes(source: onnx.ModelProto, calibration: Data) -> None:
    """Whatever the other figures are; the reason says what to give."""
    terms = VariantTerms(kind="int8-static")
    samples = list(calibration)
    evidence = _judged(Judge(source, None, samples), terms, Recipe(terms, samples))
    assert evidence.verdict == "inconclusive"
    assert "--evaluate" in evidence.reasons[0]
    assert evidence.precision is not None


def test_nodes_are_kept_until_the_budget_holds(judge: Judge, calibration: Data) -> None:
    """From a calibration that costs accuracy: the worst nodes, as few as will do, with each step told."""
    dark = [Batch({"image": batch.arrays["image"] / 40}, None) for batch in calibration]
    terms = VariantTerms(kind="int8-static", budget=0.012, within_budget=True)

    def make(recipe: Recipe) -> bytes:
        return bytes(made_quietly(judge.source, recipe).SerializeToString())

    recipe, path = judge.keep_within_budget(Recipe(terms, dark), make)
    assert path[0].kept == ()
    assert path[0].high > 0.012
    assert recipe.keep
    (found,) = (step for step in path if step.kept == recipe.keep)
    assert found.high <= 0.012
    assert all(step.high > 0.012 for step in path if len(step.kept) < len(recipe.keep))


def test_few_samples_lead_nowhere(judge: Judge, source: onnx.ModelProto, graph: Graph, calibration: Data) -> None:
    """Where not even the proven file itself would be within the budget, no node is kept and nothing is ranked."""
    terms = VariantTerms(kind="int8-static", budget=0.001, within_budget=True)

    def make(recipe: Recipe) -> bytes:
        return bytes(made_quietly(judge.source, recipe).SerializeToString())

    recipe, path = judge.keep_within_budget(Recipe(terms, list(calibration)), make)
    assert recipe.keep == ()
    assert [step.kept for step in path] == [()]


def test_a_kept_node_keeps_its_activation(judge: Judge, calibration: Data) -> None:
    """What follows a node up to the next weights stays with it; with all kept the answers are the proven file's."""
    nodes = int8_static.candidates(judge.source)
    parts = sections(judge.source, nodes)
    operators = {node.name: node.op_type for node in judge.source.graph.node}
    assert all([operators[name] for name in part][:2] == ["Conv", "Relu"] for part in list(parts.values())[:2])
    terms = VariantTerms(kind="int8-static")
    made = made_quietly(judge.source, Recipe(terms, list(calibration), keep=tuple(nodes)))
    batch = list(calibration)[:1]
    pair = [list(answers(model.SerializeToString(), batch)) for model in (made, judge.source)]
    assert relative_error(*pair) < 0.02  # the picture itself may still be quantised


def test_entropy_is_no_minmax(judge: Judge, calibration: Data) -> None:
    """Each way of finding ranges gives other scales, from batches of unequal size, too."""
    samples = [batch.rows(40) for batch in calibration][:1] + [batch.rows(30) for batch in calibration][1:2]
    scales = []
    for method in ("minmax", "percentile", "entropy"):
        terms = VariantTerms(kind="int8-static", method=method)
        made = made_quietly(judge.source, Recipe(terms, samples))
        grids = {node.input[1] for node in made.graph.node if node.op_type == "QuantizeLinear"}
        scales.append(tuple(t.raw_data or tuple(t.float_data) for t in made.graph.initializer if t.name in grids))
    assert len(set(scales)) == 3


def test_overflow_stays_in_float32(source: onnx.ModelProto, calibration: Data, tmp_path: Path) -> None:
    """Values beyond half precision are seen on the samples, and their nodes are left alone."""
    model = onnx.ModelProto()
    model.CopyFrom(source)
    first, second = (t for t in model.graph.initializer if len(t.dims) == 4)
    _change(first, lambda array: array * 1e5)
    _change(second, lambda array: array * 1e-5)  # only what lies between the two is large
    terms = VariantTerms(kind="fp16")
    recipe = Recipe(terms, list(calibration))
    judge = Judge(model, None, list(calibration))
    evidence = _judged(judge, terms, recipe)
    assert evidence.precision is not None
    assert evidence.precision.error < 0.01
    made = make_file(model, recipe, tmp_path / "half.onnx", facts={"assay.variant": "fp16"})
    assert made.inputs[0].dtype == "float32"
    written = onnx.load(made.path)
    assert {entry.key: entry.value for entry in written.metadata_props}["assay.variant"] == "fp16"
    assert any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in written.graph.initializer)
    assert any(t.data_type == onnx.TensorProto.FLOAT and len(t.dims) == 4 for t in written.graph.initializer)


def test_ideal_scales_have_less_error_than_the_largest_weight_gives() -> None:
    """An outlier in a channel is clipped where that costs less than the coarse grid."""
    weight = np.random.default_rng(0).standard_normal((4, 2000)).astype(np.float32)
    weight[0, 0] = 12
    rounded = rounded_by_channel(weight, axis=0)
    scale = np.abs(weight).max(axis=1, keepdims=True) / 127
    plain = np.round(weight / scale) * scale
    assert (np.square(rounded - weight).sum(axis=1) <= np.square(plain - weight).sum(axis=1) * (1 + 1e-5)).all()
    assert len(np.unique(rounded[1])) <= 255
