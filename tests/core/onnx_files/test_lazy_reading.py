"""Models read with their weights left on disk: they say the same, and damage does not hide in what was left out."""

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tasks.core.errors import SpecError
from tasks.core.onnx_files.checks import structural_findings
from tasks.core.onnx_files.lazy_reading import read_without_weights, sidecars, values, weights_as_inputs
from tasks.core.onnx_files.reading import read_graph

WEIGHTS = np.random.default_rng(0).standard_normal((32, 64)).astype(np.float32)


def _save(path: Path, *tensors: TensorProto) -> Path:
    """A MatMul with a weight of 8 kB and a Reshape with one of 16 bytes."""
    shape = numpy_helper.from_array(np.array([-1, 64], np.int64), "shape")
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"]), helper.make_node("Reshape", ["y", "shape"], ["z"])]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 32])
    z = helper.make_tensor_value_info("z", TensorProto.FLOAT, ["batch", 64])
    graph = helper.make_graph(nodes, "graph", [x], [z], [*tensors, shape])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, path)
    return path


def test_all_but_the_large_weights_is_read(tmp_path: Path) -> None:
    """All but the large weight is the same message, and the weight's values are found in the file itself."""
    path = _save(tmp_path / "model.onnx", numpy_helper.from_array(WEIGHTS, "w"))
    lazy, whole = read_without_weights(path), onnx.load(path)
    assert np.array_equal(values(lazy.graph.initializer[0], path), WEIGHTS)
    assert lazy.ByteSize() < WEIGHTS.nbytes
    lazy.graph.initializer[0].CopyFrom(whole.graph.initializer[0])
    assert lazy == whole
    assert sidecars(path) == {}


def test_a_hard_link_is_read_as_well(tmp_path: Path) -> None:
    """A file of two names, as MLflow's store holds them, gives its values, though onnx refuses such external data."""
    path = _save(tmp_path / "model.onnx", numpy_helper.from_array(WEIGHTS, "w"))
    os.link(path, tmp_path / "other.onnx")
    assert np.array_equal(values(read_without_weights(path).graph.initializer[0], path), WEIGHTS)


def test_a_sidecar_is_named(tmp_path: Path) -> None:
    """What lies in another file is known by that file's name, and read from there."""
    path = tmp_path / "model.onnx"
    onnx.save_model(
        onnx.load(_save(path, numpy_helper.from_array(WEIGHTS, "w"))), path,
        save_as_external_data=True, location="weights.data", size_threshold=1024,
    )  # fmt: skip
    assert sidecars(path) == {"weights.data": (tmp_path / "weights.data").stat().st_size}
    assert np.array_equal(values(read_without_weights(path).graph.initializer[0], path), WEIGHTS)
    assert read_graph(path).size_bytes == path.stat().st_size + (tmp_path / "weights.data").stat().st_size


def test_the_sidecar_of_a_branch_is_named(tmp_path: Path) -> None:
    """Weights in a graph within a graph lie in a file of their own, too."""
    branches = {}
    for name in ("then", "else"):
        weight = numpy_helper.from_array(WEIGHTS, f"{name}_w")
        onnx.external_data_helper.set_external_data(weight, f"{name}.data", offset=0, length=WEIGHTS.nbytes)
        weight.ClearField("raw_data")
        value = helper.make_tensor_value_info(f"{name}_y", TensorProto.FLOAT, [32, 64])
        node = helper.make_node("Identity", [weight.name], [value.name])
        branches[f"{name}_branch"] = helper.make_graph([node], name, [], [value], [weight])
    node = helper.make_node("If", ["x"], ["y"], **branches)
    x = helper.make_tensor_value_info("x", TensorProto.BOOL, [])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [32, 64])
    onnx.save(helper.make_model(helper.make_graph([node], "graph", [x], [y])), tmp_path / "model.onnx")
    assert sidecars(tmp_path / "model.onnx") == {"else.data": WEIGHTS.nbytes, "then.data": WEIGHTS.nbytes}


@pytest.mark.parametrize(
    ("num_left", "words"),
    [(None, "weights.data, which is not there"), (10, r"needs [\d,]+ bytes of weights in weights.data, which has 10")],
)
def test_a_lost_or_cut_sidecar_is_one_sentence(tmp_path: Path, num_left: int | None, words: str) -> None:
    """Before anything is run, and in words that say which file."""
    path, sidecar = tmp_path / "model.onnx", tmp_path / "weights.data"
    onnx.save_model(
        onnx.load(_save(path, numpy_helper.from_array(WEIGHTS, "w"))), path,
        save_as_external_data=True, location=sidecar.name, size_threshold=1024,
    )  # fmt: skip
    if num_left is None:
        sidecar.unlink()
    else:
        os.truncate(sidecar, num_left)
    with pytest.raises(SpecError, match=words):
        read_graph(path)


def test_a_weight_that_is_too_short_is_found(tmp_path: Path) -> None:
    """Fewer bytes than the dims want are a structural finding."""
    raw = WEIGHTS.tobytes()[:-4]
    path = _save(tmp_path / "model.onnx", TensorProto(name="w", dims=[32, 64], data_type=1, raw_data=raw))
    assert structural_findings(read_graph(path))


def test_shapes_are_inferred_through_a_weight(tmp_path: Path) -> None:
    """A weight whose dims do not fit the graph is found, although its values are not read."""
    path = _save(tmp_path / "model.onnx", numpy_helper.from_array(WEIGHTS.T.copy(), "w"))
    assert "onnx.checker finds" in structural_findings(read_graph(path))[0]
    assert [value.name for value in weights_as_inputs(read_without_weights(path)).graph.input] == ["x", "w"]


@pytest.mark.parametrize("cut", [1, 100, 5000])
def test_a_truncated_file_is_refused(tmp_path: Path, cut: int) -> None:
    """A file whose end is missing can't be read."""
    path = _save(tmp_path / "model.onnx", numpy_helper.from_array(WEIGHTS, "w"))
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(Exception, match=r"(?i)late|parsing|number"):
        read_without_weights(path)
