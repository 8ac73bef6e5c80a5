"""Findings about a file that need no run, wherever in it the nodes are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tasks.core.onnx_files.checks import structural_findings
from tasks.core.onnx_files.reading import read_graph

Scope = Callable[..., onnx.ModelProto]
RANDOM = [helper.make_node("RandomUniformLike", ["x"], ["y"])]
NORM = helper.make_node("BatchNormalization", ["x", *["w"] * 4], ["y", "mean", "variance"], training_mode=1)


def _float(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4])


def _model(nodes: list[onnx.NodeProto], **options: Any) -> onnx.ModelProto:
    condition = helper.make_tensor_value_info("condition", TensorProto.BOOL, [])
    graph = helper.make_graph(nodes, "main", [_float("x"), condition], [_float("y")], options.pop("weights", []))
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10, **options)


def _main(nodes: list[onnx.NodeProto]) -> onnx.ModelProto:
    return _model(nodes)


def _branch(nodes: list[onnx.NodeProto]) -> onnx.ModelProto:
    other = helper.make_graph([helper.make_node("Identity", ["x"], ["y2"])], "else", [], [_float("y2")])
    then = helper.make_graph([*nodes, helper.make_node("Identity", ["y"], ["y1"])], "then", [], [_float("y1")])
    return _model([helper.make_node("If", ["condition"], ["out"], then_branch=then, else_branch=other, name="if"),
                   helper.make_node("Identity", ["out"], ["y"])])  # fmt: skip


def _function(
    nodes: list[onnx.NodeProto], *, inputs: tuple[str, ...] = (), is_called: bool = True, **attributes: Any
) -> onnx.ModelProto:
    """A model that calls a function of these nodes, with the value `mode` and attributes given where it is called."""
    names = {"attributes": list(attributes)}
    names = (
        names
        if attributes.get("training", 0) is not None
        else {"attribute_protos": [helper.make_attribute("training", 1)]}
    )
    function = helper.make_function("own", "F", ["x", *inputs], ["y"], nodes, [helper.make_opsetid("", 20)], **names)
    given = {name: value for name, value in attributes.items() if value is not None}
    call = helper.make_node("F", ["x", *inputs], ["out"], domain="own", **given)
    called = [call, helper.make_node("Identity", ["out"], ["y"])]
    return _model(called if is_called else [helper.make_node("Relu", ["x"], ["y"])], functions=[function])


def _findings(model: onnx.ModelProto, folder: Path) -> list[str]:
    onnx.save(model, folder / "model.onnx")
    found = structural_findings(read_graph(folder / "model.onnx"))
    assert not [text for text in found if "onnx.checker" in text]
    return found


def _dropout(mode: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
    return [
        helper.make_node("Constant", [], ["rate"], value_float=0.5),
        *mode,
        helper.make_node("Dropout", ["x", "rate", "mode"], ["y"], name="drop"),
    ]


def _mode(is_on: bool) -> list[onnx.NodeProto]:
    return [helper.make_node("Constant", [], ["mode"], value=numpy_helper.from_array(np.array(is_on)))]


def _cast(**value: Any) -> list[onnx.NodeProto]:
    return [
        helper.make_node("Constant", [], ["number"], **value),
        helper.make_node("Cast", ["number"], ["mode"], to=TensorProto.BOOL),
    ]


def _referring(node: onnx.NodeProto, name: str) -> onnx.NodeProto:
    """The node with an attribute that refers to the function's attribute `training`."""
    attribute = next(attribute for attribute in node.attribute if attribute.name == name)
    attribute.ClearField("i")
    attribute.ref_attr_name = "training"
    return node


@pytest.mark.parametrize("scope", [_main, _branch, _function])
def test_random_operators_are_found_everywhere(scope: Scope, tmp_path: Path) -> None:
    """In the main graph, in a branch and in a function a node that draws random numbers is one finding."""
    assert _findings(scope(RANDOM), tmp_path) == [
        "y (RandomUniformLike) draws random numbers, so the file does not repeat its own answers"
    ]


def test_a_function_of_another_opset_is_searched(tmp_path: Path) -> None:
    """A function may be written in an older opset than the graph that calls it."""
    model = _function(RANDOM)
    model.functions[0].opset_import[0].version = 18
    assert len(_findings(model, tmp_path)) == 1


@pytest.mark.parametrize("name", ["x", "v"])
def test_weights_may_be_standardised_in_the_graph(name: str, tmp_path: Path) -> None:
    """Statistics of a weight are the same in every run, those of a batch are not."""
    nodes = [
        helper.make_node("Identity", [name], ["flat"]),
        helper.make_node("BatchNormalization", ["flat", *["w"] * 4], ["normed", "mean", "variance"], training_mode=1),
        helper.make_node("Add", ["x", "normed"], ["y"]),
    ]
    weights = [numpy_helper.from_array(np.ones(shape, np.float32), key) for key, shape in (("v", (1, 4)), ("w", 4))]
    assert bool(_findings(_model(nodes, weights=weights), tmp_path)) is (name == "x")


@pytest.mark.parametrize("is_on", [True, False])
@pytest.mark.parametrize("scope", [_main, _branch, _function])
def test_a_dropout_is_judged_by_its_third_input(scope: Scope, is_on: bool, tmp_path: Path) -> None:
    """A constant of the scope it lives in says whether it is in training mode."""
    found = _findings(scope(_dropout(_mode(is_on))), tmp_path)
    assert found == (["drop (Dropout) is in training mode; call model.eval() before the export"] if is_on else [])


@pytest.mark.parametrize("is_on", [True, False])
def test_a_constant_of_the_outer_graph_reaches_a_branch(is_on: bool, tmp_path: Path) -> None:
    """A branch's Dropout whose mode is an initializer of the graph around it is judged by that."""
    model = _branch(_dropout([]))
    model.graph.initializer.append(numpy_helper.from_array(np.array(is_on), "mode"))
    assert bool(_findings(model, tmp_path)) is is_on


@pytest.mark.parametrize("is_on", [True, False])
def test_an_input_of_a_function_is_followed_to_its_calls(is_on: bool, tmp_path: Path) -> None:
    """The caller's constant decides."""
    model = _function(_dropout([]), inputs=("mode",))
    model.graph.initializer.append(numpy_helper.from_array(np.array(is_on), "mode"))
    assert bool(_findings(model, tmp_path)) is is_on


@pytest.mark.parametrize(("training", "is_on"), [(1, True), (0, False), (None, True)])
def test_an_attribute_of_a_function_is_followed_to_its_calls(training: int | None, is_on: bool, tmp_path: Path) -> None:
    """The caller's attribute decides, or the function's default of 1; cast to a bool on its way."""
    number, cast = _cast(value_int=1)
    nodes = _dropout([_referring(number, "value_int"), cast])
    assert bool(_findings(_function(nodes, training=training), tmp_path)) is is_on


@pytest.mark.parametrize("training", [0, 1])
def test_batch_statistics_are_found(training: int, tmp_path: Path) -> None:
    """A BatchNormalization in training mode is found, and in a function it is the call that says so."""
    norm = onnx.NodeProto()
    norm.CopyFrom(NORM)
    weight = helper.make_node("Constant", [], ["w"], value_floats=[1.0] * 4)
    assert len(_findings(_main([weight, norm]), tmp_path)) == 1
    onnx.save(_function([weight, _referring(norm, "training_mode")], training=training), tmp_path / "function.onnx")
    found = structural_findings(read_graph(tmp_path / "function.onnx"))  # the checker minds three outputs without it
    assert any("(BatchNormalization) is in training mode" in text for text in found) is bool(training)


def test_a_mode_that_is_decided_later_is_a_finding(tmp_path: Path) -> None:
    """Nobody promises that an input of the model stays false."""
    nodes = _dropout([helper.make_node("Identity", ["condition"], ["mode"])])
    assert len(_findings(_main(nodes), tmp_path)) == 1


def test_a_function_that_nothing_calls_is_no_finding(tmp_path: Path) -> None:
    """What never runs can't draw random numbers."""
    assert _findings(_function(RANDOM, is_called=False), tmp_path) == []


def test_functions_that_call_each_other_end(tmp_path: Path) -> None:
    """An invalid file is a finding, not an endless search."""
    model = _function([helper.make_node("F", ["x", "mode"], ["y"], domain="own"), *_dropout([])[:1],
                       helper.make_node("Dropout", ["x", "rate", "mode"], ["unused"], name="drop")],
                      inputs=("mode",))  # fmt: skip
    model.graph.initializer.append(numpy_helper.from_array(np.array(False), "mode"))
    onnx.save(model, tmp_path / "model.onnx")
    assert not [text for text in structural_findings(read_graph(tmp_path / "model.onnx")) if "Dropout" in text]


def test_nodes_that_lack_what_they_must_have_are_passed_over(tmp_path: Path) -> None:
    """Without name, inputs and outputs, or fed by themselves: reading ends, and running it says what is wrong."""
    training = helper.make_node("BatchNormalization", ["loop", "s", "b", "m", "v"], ["z"], training_mode=1)
    nodes = [helper.make_node("RandomNormal", [], [], shape=[1]), helper.make_node("Reshape", ["loop"], ["loop"])]
    nodes += [helper.make_node("BatchNormalization", [], ["y"], training_mode=1), training]
    graph = helper.make_graph(nodes, "g", [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])])
    onnx.save(helper.make_model(graph), tmp_path / "model.onnx")
    findings = " ".join(structural_findings(read_graph(tmp_path / "model.onnx")))
    assert "RandomNormal (RandomNormal) draws random numbers" in findings
    assert "y (BatchNormalization) is in training mode" in findings
