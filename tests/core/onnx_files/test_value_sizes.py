"""Files whose values take far more memory than their inputs and weights are refused before they are run."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from tasks.core.allowance import VARIABLE
from tasks.core.errors import SpecError
from tasks.core.onnx_files.value_sizes import check_values
from tasks.core.onnx_files.writing import write


def save(path: Path, nodes: list[onnx.NodeProto], **constants: Any) -> Path:
    """A file that takes `x` of shape (batch, 4), and whose output `y` is what the nodes make."""
    arrays = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", [given], [out], arrays)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def doubling(first: str, times: int) -> list[onnx.NodeProto]:
    """`first` put beside itself again and again, into `y`."""
    names = [first, *(f"c{index}" for index in range(times - 1)), "y"]
    return [helper.make_node("Concat", [a, a], [b], axis=0) for a, b in itertools.pairwise(names)]


NODES = {
    "doubled input": doubling("x", 34),
    "doubled constant": [helper.make_node("ConstantOfShape", ["one"], ["c"]), *doubling("c", 34)],
    "constant of shape": [helper.make_node("ConstantOfShape", ["many"], ["y"])],
    "expanded to a computed shape": [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Mul", ["shape", "large"], ["wide"]),
        helper.make_node("Expand", ["unit", "wide"], ["y"]),
    ],
    "tiled": [helper.make_node("Tile", ["x", "pair"], ["y"])],
    "padded": [helper.make_node("Pad", ["x", "pads"], ["y"])],
}
CONSTANTS = {
    "unit": np.ones((1, 1), np.float32),
    "one": np.array([1]),
    "many": np.array([1 << 34]),
    "large": np.array([1 << 20]),
    "pair": np.array([1 << 16, 1 << 16]),
    "pads": np.array([0, 0, 1 << 30, 9]),
}


@pytest.mark.parametrize("nodes", NODES.values(), ids=NODES)
def test_large_values_are_refused_with_the_figure(nodes: list[onnx.NodeProto], tmp_path: Path) -> None:
    """However they grow."""
    path = save(tmp_path / "model.onnx", nodes, **CONSTANTS)
    with pytest.raises(SpecError, match=rf"^The value y of model\.onnx takes .*(GB|TB) of memory.*({VARIABLE}|ones\.)"):
        check_values(path, {"x": (2, 4)})


def test_what_a_network_needs_is_not(graph: ir.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of usual size pass, even where nothing beyond 256 times the inputs is allowed; unknown inputs pass, too."""
    write(graph, tmp_path / "model.onnx")
    monkeypatch.setenv(VARIABLE, "1")
    check_values(tmp_path / "model.onnx", {"image": (2, 3, 8, 8)})
    check_values(tmp_path / "model.onnx", {})
    check_values(save(tmp_path / "small.onnx", doubling("x", 5)), {"x": (2, 4)})


def test_what_inference_refuses_is_left_to_the_checker(tmp_path: Path) -> None:
    """An operator that nobody knows."""
    check_values(save(tmp_path / "model.onnx", [helper.make_node("Nonesuch", ["x"], ["y"])]), {"x": (2, 4)})
