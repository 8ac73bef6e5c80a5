"""A proven file is put where the user wants it, whole or not at all."""

from pathlib import Path

import pytest

from tasks.core.errors import ExportError
from tasks.core.hashes import file_sha256
from tasks.core.records.steps import ExportResult
from tasks.deliver_file import deliver_file
from tasks.mlflow_store.releases import download_graph


@pytest.fixture
def copied(exported_digits: ExportResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ExportResult:
    """The export of digits with a sidecar, its stored files in a folder of the test's own."""
    assert exported_digits.graph
    assert exported_digits.release
    folder = tmp_path / "stored"
    folder.mkdir()
    content = download_graph(exported_digits.release, tmp_path).read_bytes()
    (folder / "model.onnx").write_bytes(content)
    (folder / "weights-1.data").write_bytes(b"weights")
    monkeypatch.setattr("tasks.deliver_file.download_graph", lambda *_: folder / "model.onnx")
    sidecar = {"sidecar": folder / "weights-1.data", "sidecar_sha256": file_sha256(folder / "weights-1.data")}
    return exported_digits.model_copy(update={"graph": exported_digits.graph.model_copy(update=sidecar)})


def test_file_and_sidecar_are_delivered(copied: ExportResult, tmp_path: Path) -> None:
    """Both lie in the folder, the file under the name that was asked for."""
    target = tmp_path / "out" / "mine.onnx"
    assert deliver_file(copied, target).onnx_path == target
    assert sorted(path.name for path in target.parent.iterdir()) == ["mine.onnx", "weights-1.data"]
    assert file_sha256(target) == copied.graph.sha256


@pytest.mark.parametrize(("name", "words"), [("model.onnx", "file"), ("weights-1.data", "weights")])
@pytest.mark.parametrize("content", [b"other", None])
def test_what_is_not_the_proven_file_is_not_delivered(
    name: str, words: str, content: bytes | None, copied: ExportResult, tmp_path: Path
) -> None:
    """Bytes that changed in the store, or are gone, reach nobody: the user's file stays, nothing lies beside it."""
    target = tmp_path / "out" / "mine.onnx"
    target.parent.mkdir()
    target.write_bytes(b"the user's")
    stored = tmp_path / "stored" / name
    stored.unlink()
    if content is not None:
        stored.write_bytes(content)
    with pytest.raises(ExportError, match=f"stored as the {words} of models:/digits/.* is not what was proven"):
        deliver_file(copied, target)
    assert [(path.name, path.read_bytes()) for path in target.parent.iterdir()] == [("mine.onnx", b"the user's")]


def test_a_place_that_can_not_be_written_is_left_as_it_was(copied: ExportResult, tmp_path: Path) -> None:
    """Where a folder has the file's name, one sentence says so and no part of a file is left."""
    (tmp_path / "out" / "mine.onnx").mkdir(parents=True)
    with pytest.raises(ExportError, match="can't be written"):
        deliver_file(copied, tmp_path / "out" / "mine.onnx")
    assert not list((tmp_path / "out").glob(".*"))


def test_what_is_not_proven_is_named_and_not_copied(copied: ExportResult, tmp_path: Path) -> None:
    """A file with another verdict stays in the store."""
    failed = copied.model_copy(update={"verdict": "fail"})
    assert deliver_file(failed, tmp_path / "out.onnx").onnx_path != tmp_path / "out.onnx"
    assert not (tmp_path / "out.onnx").exists()
