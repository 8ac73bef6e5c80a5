"""What kind of lower precision somebody else's file has is seen in its graph."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tasks.core.errors import SpecError
from tasks.core.records.steps import TensorType
from tasks.core.variants.foreign import read_foreign

INPUTS = (TensorType(name="x", dtype="float32", dims=("batch", 4)),)


def _file(path: Path, dtype: type, *, name: str = "x") -> Path:
    """A product of a weight that the graph casts to float32 itself."""
    nodes = [
        helper.make_node("Cast", ["w"], ["f"], to=onnx.TensorProto.FLOAT),
        helper.make_node("MatMul", [name, "f"], ["y"]),
    ]
    values = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["batch", 4]) for n in (name, "y")]
    weight = numpy_helper.from_array(np.ones((4, 4), dtype), "w")
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]), path)
    return path


@pytest.mark.parametrize(("dtype", "kind"), [(np.int8, "int8"), (np.uint8, "int8"), (np.float16, "fp16")])
def test_weights_alone_may_be_smaller(dtype: type, kind: str, tmp_path: Path) -> None:
    """Without any operator of quantisation; the input has the proven file's name."""
    model, found = read_foreign(_file(tmp_path / "a.onnx", dtype, name="picture"), INPUTS)
    assert found == kind
    assert model.graph.input[0].name == model.graph.node[1].input[0] == "x"


def test_a_file_in_float32_is_no_variant(tmp_path: Path) -> None:
    """It is to be proven instead."""
    with pytest.raises(SpecError, match="neither quantised nor half precision"):
        read_foreign(_file(tmp_path / "a.onnx", np.float32), INPUTS)
