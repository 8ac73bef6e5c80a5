"""Where something is to be written is looked at before the work."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.core.errors import SpecError
from tasks.core.spec.destination import check_destination, check_not_read, check_writable
from tasks.core.spec.export_spec import ExportSpec, ResolvedSpec
from tasks.core.spec.resolve import resolve


@pytest.fixture
def spec(tmp_path: Path) -> ResolvedSpec:
    """Of a model in a file, with a folder of weights and a sample."""
    (tmp_path / "weights").mkdir()
    for name in ("net.py", "sample.npz", "weights/model.safetensors"):
        (tmp_path / name).write_bytes(b"precious")
    model = f"{tmp_path}/net.py:Net"
    return resolve(ExportSpec(model=model, weights=str(tmp_path / "weights"), sample=tmp_path / "sample.npz"))


@pytest.mark.parametrize(
    "name", ["net.py", "sample.npz", "weights/model.safetensors", "weights/../net.py", "link.onnx"]
)
def test_no_copy_lands_on_what_the_export_reads(name: str, spec: ResolvedSpec, tmp_path: Path) -> None:
    """Under whatever name: model, sample, a file of a folder of weights."""
    (tmp_path / "link.onnx").symlink_to(tmp_path / "net.py")
    with pytest.raises(SpecError, match="is read here and would be replaced; name another place"):
        check_destination(tmp_path / name, spec)


def test_another_place_is_fine(spec: ResolvedSpec, tmp_path: Path) -> None:
    """New, or an old copy; in a folder that does not exist yet, or beside the weights; nothing is left there."""
    (tmp_path / "old.onnx").write_bytes(b"old")
    before = sorted(tmp_path.rglob("*"))
    for name in ("old.onnx", "new.onnx", "new/folder/net.onnx", "weights/net.onnx"):
        check_destination(tmp_path / name, spec)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_name_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights are no file that happens to be called so."""
    monkeypatch.chdir(tmp_path)
    Path("random").write_bytes(b"old")
    check_destination(Path("random"), resolve(ExportSpec(model="alexnet", weights="random")))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("folder", "it is a folder"),
        ("file/below.onnx", "Not a directory"),
        ("n" * 255, "File name too long"),
        ("zero\0byte", "null byte"),
        ("/proc/net.onnx", "can't be written"),
        ("/dev/null", "is no file"),
    ],
)
def test_what_cannot_be_written_is_one_sentence(name: str, said: str, spec: ResolvedSpec, tmp_path: Path) -> None:
    """With the reason that the system gives."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("a file")
    with pytest.raises(SpecError, match=said) as caught:
        check_destination(tmp_path / name, spec)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["/dev/null", "/dev/stdout"])
def test_what_is_written_in_place_may_be_a_device(name: str) -> None:
    """As `--json /dev/stdout`."""
    check_writable(Path(name))


def _read_only_file(folder: Path) -> Path:
    file = folder / "read_only.json"
    file.touch()
    file.chmod(0o444)
    return file


def _in_a_read_only_folder(folder: Path) -> Path:
    (folder / "read_only").mkdir(mode=0o555)
    return folder / "read_only" / "new.json"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
@pytest.mark.parametrize("place", [_read_only_file, _in_a_read_only_folder])
def test_permissions_are_seen(place: Callable[[Path], Path], tmp_path: Path) -> None:
    """Of the file, and of its folder."""
    with pytest.raises(SpecError, match="can't be written"):
        check_writable(place(tmp_path))


def test_files_are_recognised_by_what_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path, an absolute one; one that does not exist yet is no file that is read."""
    monkeypatch.chdir(tmp_path)
    Path("theirs.onnx").touch()
    with pytest.raises(SpecError, match="is read here"):
        check_not_read(tmp_path / "theirs.onnx", [Path("theirs.onnx")])
    check_not_read(Path("out.json"), [Path("out.json"), Path("theirs.onnx")])
