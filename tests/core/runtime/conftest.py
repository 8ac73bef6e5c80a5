"""Small .onnx files that answer, crash ONNX Runtime, or keep it busy."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.core.runtime.small_files import constant, save


@pytest.fixture(scope="session")
def twice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It doubles float32[batch,3]."""
    return save(tmp_path_factory.mktemp("files") / "twice.onnx", [helper.make_node("Add", ["x", "x"], ["y"])])


@pytest.fixture(scope="session")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A loop of 2**62 rounds."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Add", ["a", "a"], ["b"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("a", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("b", TensorProto.FLOAT, None),
        ],
    )
    loop = helper.make_node("Loop", ["n", "yes", "x"], ["y"], body=body)
    nodes = [constant("n", np.array(2**62)), constant("yes", np.array(True)), loop]
    return save(tmp_path_factory.mktemp("files") / "endless.onnx", nodes)


@pytest.fixture(scope="session")
def slow_to_open(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its constant folding takes half a minute."""
    nodes = [constant("s", np.array([4000, 4000])), constant("c", np.array(1e-3, np.float32))]
    nodes += [helper.make_node("Expand", ["c", "s"], ["m0"])]
    nodes += [helper.make_node("MatMul", [f"m{i}", f"m{i}"], [f"m{i + 1}"]) for i in range(60)]
    nodes += [helper.make_node("ReduceMax", ["m60"], ["r"], keepdims=0), helper.make_node("Add", ["x", "r"], ["y"])]
    return save(tmp_path_factory.mktemp("files") / "slow.onnx", nodes)


@pytest.fixture(scope="session")
def crashing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It divides integers by -1: at the smallest one the processor raises SIGFPE, and ONNX Runtime does not look."""
    nodes = [constant("m", np.array([-1])), helper.make_node("Div", ["x", "m"], ["y"], name="divided")]
    return save(tmp_path_factory.mktemp("files") / "crashing.onnx", nodes, kind=TensorProto.INT64)


@pytest.fixture(scope="session")
def with_sidecar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It looks up its input among 0, 1, ..., 2047, which lie in a sidecar."""
    nodes = [helper.make_node("Gather", ["w", "i"], ["y"])]
    path = tmp_path_factory.mktemp("files") / "big.onnx"
    proto = onnx.load(save(path, nodes))
    proto.graph.node.insert(0, helper.make_node("Cast", ["x"], ["i"], to=TensorProto.INT64))
    proto.graph.initializer.append(numpy_helper.from_array(np.arange(2048, dtype=np.float32), "w"))
    onnx.save(proto, path, save_as_external_data=True, location="w.data")
    return path
