"""What the tests of ONNX Runtime's process share: files of one input and one output, inputs, its processes."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import psutil
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

BATCHES = [np.full((rows, 3), rows, np.float32) for rows in (1, 2, 3)]


def constant(name: str, value: NDArray[Any]) -> onnx.NodeProto:
    """A Constant node."""
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value))


def save(path: Path, nodes: list[onnx.NodeProto], *, kind: int = TensorProto.FLOAT) -> Path:
    """A file with one input `x`, float32[batch,3] or a vector of another kind, and one output `y`."""
    shape = [None, 3] if kind == TensorProto.FLOAT else [None]
    value, output = helper.make_tensor_value_info("x", kind, shape), helper.make_tensor_value_info("y", kind, None)
    graph = helper.make_graph(nodes, "g", [value], [output])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def session_processes() -> list[psutil.Process]:
    """ONNX Runtime's processes of this one."""
    return [c for c in psutil.Process().children() if "tasks.core.runtime.session_process" in c.cmdline()]
