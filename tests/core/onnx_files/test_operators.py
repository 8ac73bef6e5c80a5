"""Operators are counted wherever a file has nodes."""

from pathlib import Path

import onnx
from onnx import TensorProto, helper

from tasks.core.onnx_files.operators import operator_counts


def test_nodes_of_branches_and_functions_count(tmp_path: Path) -> None:
    """Those of another domain are told with it."""
    value = helper.make_tensor_value_info("z", TensorProto.FLOAT, [2])
    sides = {
        f"{side}_branch": helper.make_graph([helper.make_node("Exp", ["x"], ["z"])], side, [], [value])
        for side in ("then", "else")
    }
    nodes = [
        helper.make_node("If", ["c"], ["w"], **sides),
        helper.make_node("Twice", ["w"], ["y"], domain="own"),
    ]
    inputs = [
        helper.make_tensor_value_info("c", TensorProto.BOOL, []),
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [2]),
    ]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])]
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("own", 1)]
    body = [helper.make_node("Add", ["a", "a"], ["b"])]
    function = helper.make_function("own", "Twice", ["a"], ["b"], body, opsets[:1])
    graph = helper.make_graph(nodes, "g", inputs, outputs)
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, functions=[function]), path)
    assert operator_counts(path) == {"If": 1, "Exp": 2, "own::Twice": 1, "Add": 1}
