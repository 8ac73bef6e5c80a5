"""The graph of a file: producers, consumers, what depends on the inputs, and running a part of it."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tasks.core.localisation.onnx_graph import OnnxGraph
from tasks.core.onnx_files.reading import SCOPES
from tasks.core.runtime.sessions import SessionError, answers

X = np.array([[1.0, -2.0, 3.0]], np.float32)


def _graph(folder: Path) -> OnnxGraph:
    """Y = relu(x * two) reshaped as x; a node that leads nowhere."""
    nodes = [
        helper.make_node("Mul", ["x", "two"], ["doubled"], name="/layer1/layer1.0/conv1/Mul"),
        helper.make_node("Relu", ["doubled"], ["positive"]),
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Reshape", ["positive", "shape"], ["y"], name="last"),
        helper.make_node("Neg", ["doubled"], ["unused"], name="nowhere"),
    ]
    scopes = nodes[3].metadata_props.add()
    scopes.key, scopes.value = SCOPES, "['', 'head', 'aten.view']"
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3]) for name in ("x", "y")]
    two = numpy_helper.from_array(np.full(3, 2, np.float32), "two")
    graph = helper.make_graph(nodes, "g", [values[0]], [values[1]], [two])
    path = folder / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return OnnxGraph(path)


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> OnnxGraph:
    """The graph of a small file."""
    return _graph(tmp_path_factory.mktemp("graph"))


def test_producers_and_consumers_of_each_value_are_known(graph: OnnxGraph) -> None:
    """By name of the value, as indices of nodes."""
    assert graph.producer == {"doubled": 0, "positive": 1, "shape": 2, "y": 3, "unused": 4}
    assert graph.consumers["doubled"] == [1, 4]
    assert (graph.feeds, graph.outputs) == (["x"], ["y"])


def test_shapes_and_weights_do_not_depend_on_the_values_of_the_inputs(graph: OnnxGraph) -> None:
    """So nothing is to be compared there."""
    assert graph.constants == {"two", "shape"}
    assert graph.data_inputs(3) == ["positive"]
    assert graph.reaching_outputs == {0, 1, 2, 3}


def test_a_node_is_placed_by_the_file_itself(graph: OnnxGraph) -> None:
    """By metadata, by a name that is a path, or not at all; its label is its name or its output's."""
    known = {"", "layer1", "layer1.0", "layer1.0.conv1", "head"}
    assert [graph.module_path(index, known) for index in range(4)] == ["layer1.0.conv1", None, None, "head"]
    assert [graph.label(index) for index in (0, 1)] == ["/layer1/layer1.0/conv1/Mul", "positive"]


def test_a_part_runs_on_given_values(graph: OnnxGraph) -> None:
    """Nodes in order, initializers replaced where asked for."""
    values, stopped, said = graph.run({"x": X})
    assert (stopped, said) == (None, "")
    assert values["y"].tolist() == [[2.0, 0.0, 6.0]]
    assert graph.evaluate([1], {"doubled": -X})["positive"].tolist() == [[0.0, 2.0, 0.0]]
    model, feeds = graph.part([0], {"x": X, "two": np.full(3, 3, np.float32)}, wanted=["doubled"])
    assert answers(model.SerializeToString(), [feeds])[0][0].tolist() == [[3.0, -6.0, 9.0]]


def test_the_node_at_which_a_file_stops_is_found(tmp_path: Path) -> None:
    """With the values before it, and what ONNX Runtime says."""
    graph = _graph(tmp_path)
    graph.nodes[3].input[1] = "two"  # a shape of floats
    graph.inputs[3] = ["positive", "two"]
    values, stopped, said = graph.run({"x": X})
    assert stopped == 3
    assert "positive" in values
    assert said
    with pytest.raises(SessionError):
        graph.evaluate([3], {"positive": X})
