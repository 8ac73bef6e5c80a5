"""A witness tells a copy that answers otherwise."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tasks.core.proof.validation import Witness

X = np.array([[1.0, -2.0, 4.0]], np.float32)


def _file(folder: Path, op_type: str, dtype: int = TensorProto.FLOAT) -> Path:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])
    y = helper.make_tensor_value_info("y", dtype, None)
    graph = helper.make_graph([helper.make_node(op_type, ["x"], ["y"])], "g", [x], [y])
    path = folder / f"{op_type}.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


@pytest.mark.parametrize(
    ("op_type", "answer", "says"),
    [
        ("Abs", np.abs(X), ""),
        ("Abs", np.abs(X) * np.float32(1 + 1e-6), ""),
        ("Neg", np.abs(X), "a relative difference of"),
        ("Flatten", np.abs(X)[0], "float32[1, 3] instead of float32[3]"),
        ("Sqrt", np.abs(X), "other elements that are not finite"),
        ("Log", np.where(X > 0, np.log(np.abs(X)), np.nan), ""),
        ("Missing", X, "Missing"),
    ],
)
def test_a_copy_is_compared_with_the_answer(op_type: str, answer: np.ndarray, says: str, tmp_path: Path) -> None:
    """The same up to rounding, or a few words of what differs; a file that does not run says so."""
    found = Witness({"x": X}, (answer.astype(np.float32),)).disagreement(_file(tmp_path, op_type))
    assert says in found
    assert bool(says) == bool(found)


def test_integers_must_be_equal(tmp_path: Path) -> None:
    """And outputs as many as there were."""
    path = _file(tmp_path, "Shape", TensorProto.INT64)
    assert Witness({"x": X}, (np.array([1, 3]),)).disagreement(path) == ""
    assert Witness({"x": X}, (np.array([2, 3]),)).disagreement(path) == "other integers"
    assert Witness({"x": X}, (X, X)).disagreement(path) == "1 outputs instead of 2"
