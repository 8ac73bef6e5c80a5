"""Files are written weight by weight: the right bytes, deterministic."""

import hashlib
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

from tasks.core.onnx_files import writing


def _scores(path: Path) -> np.ndarray:
    image = np.random.default_rng(0).standard_normal((3, 3, 8, 8)).astype(np.float32)
    return onnxruntime.InferenceSession(path).run(None, {"image": image})[0]


def test_the_written_file_is_the_graph(graph: ir.Model, tmp_path: Path) -> None:
    """A streamed file passes onnx's full check and holds the same initializers as one that onnx wrote."""
    sha256, sidecar = writing.write(graph, tmp_path / "ours.onnx")
    assert sidecar is None
    assert sha256 == hashlib.sha256((tmp_path / "ours.onnx").read_bytes()).hexdigest()
    onnx.checker.check_model(tmp_path / "ours.onnx", full_check=True)
    ir.save(graph, tmp_path / "theirs.onnx")
    ours, theirs = (onnx.load(tmp_path / name).graph for name in ("ours.onnx", "theirs.onnx"))
    values = [{t.name: onnx.numpy_helper.to_array(t).tobytes() for t in g.initializer} for g in (ours, theirs)]
    assert values[0] == values[1]
    assert np.array_equal(_scores(tmp_path / "ours.onnx"), _scores(tmp_path / "theirs.onnx"))


def test_large_weights_go_into_a_sidecar(graph: ir.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the limit there is one sidecar, named by its hash, which is in the file; the answers are the same."""
    writing.write(graph, tmp_path / "whole.onnx")
    monkeypatch.setattr(writing, "MAX_FILE_BYTES", 64 << 20)
    _, sidecar = writing.write(graph, tmp_path / "model.onnx")
    assert sidecar is not None
    sha256 = hashlib.sha256(sidecar.read_bytes()).hexdigest()
    assert sidecar == tmp_path / f"weights-{sha256[:16]}.data"
    metadata = {p.key: p.value for p in onnx.load(tmp_path / "model.onnx", load_external_data=False).metadata_props}
    assert metadata["assay.sidecar_sha256"] == sha256
    onnx.checker.check_model(tmp_path / "model.onnx", full_check=True)
    assert np.array_equal(_scores(tmp_path / "model.onnx"), _scores(tmp_path / "whole.onnx"))
    graph.metadata_props.pop("assay.sidecar_sha256")


def test_other_weights_have_another_sidecar(graph: ir.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two models put into one folder keep their own weights; equal weights share one sidecar."""
    monkeypatch.setattr(writing, "MAX_FILE_BYTES", 64 << 20)
    _, first = writing.write(graph, tmp_path / "first.onnx")
    before = _scores(tmp_path / "first.onnx")
    assert writing.write(graph, tmp_path / "same.onnx")[1] == first
    large = max(graph.graph.initializers.values(), key=lambda value: value.const_value.nbytes)
    kept = large.const_value
    large.const_value = ir.tensor(kept.numpy() * np.float32(2), name=large.name)
    _, second = writing.write(graph, tmp_path / "second.onnx")
    large.const_value = kept
    graph.metadata_props.pop("assay.sidecar_sha256")
    assert second != first
    assert np.array_equal(_scores(tmp_path / "first.onnx"), before)
    assert not np.array_equal(_scores(tmp_path / "second.onnx"), before)
