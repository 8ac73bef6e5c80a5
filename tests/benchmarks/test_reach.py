"""Whether any input can show a mutation is computed, not listed by hand."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tasks.core.spec.input_spec import InputSpec
from tests.benchmarks.reach import is_out_of_reach


def _file(path: Path, *, changed: int | None, transposed: bool) -> Path:
    """Two layers with an activation between; its second channel opens where the inputs add up to more than 10."""
    first = np.array([[1.0, 1.0, -1.0], [1.0, 1.0, 2.0]], dtype=np.float32)
    last = np.ones((3, 2), dtype=np.float32)
    if changed is not None:
        last[changed, 1] = 5
    weights = {"w1": first, "b1": np.array([0, -10, 0], dtype=np.float32), "w2": last.T if transposed else last}
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["open"]),
        helper.make_node("Gemm", ["open", "w2"], ["y"], transB=int(transposed)),
    ]
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", 2]) for n in ("x", "y")]
    tensors = [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in weights.items()]
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", values[:1], values[1:], tensors)), path)
    return path


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(
    ("declared", "changed", "expected"),
    [
        ("x=float32[batch,2]@-4..4", 1, True),
        ("x=float32[batch,2]@-4..6", 1, False),  # 12 is more than 10
        ("x=float32[batch,2]@-4..4", 0, False),
        ("x=float32[batch,2]", 1, False),
        ("x=float32[batch,2]@-4..4", None, False),
    ],
)
def test_a_channel_that_never_opens(
    declared: str, changed: int | None, expected: bool, transposed: bool, tmp_path: Path
) -> None:
    """Weights behind it are out of reach within the range, others are not, nor is anything without a range."""
    original = _file(tmp_path / "original.onnx", changed=None, transposed=transposed)
    mutated = _file(tmp_path / "mutated.onnx", changed=changed, transposed=transposed)
    assert is_out_of_reach(original, mutated, (InputSpec.parse(declared),)) == expected
