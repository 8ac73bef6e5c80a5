"""Weights are read from whatever file people have, recognised by its content, and refused in one sentence."""

import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tasks.core.errors import WeightsError
from tests.core.weights.checkpoints import Running, equal, read_state_dict, small
from tests.services.weights_server import HTML_PAGE

Write = Callable[[dict[str, torch.Tensor], Path], None]


def _zip(state: dict[str, torch.Tensor], path: Path) -> None:
    torch.save(state, path)


def _legacy(state: dict[str, torch.Tensor], path: Path) -> None:
    torch.save(state, path, _use_new_zipfile_serialization=False)


def _safetensors(state: dict[str, torch.Tensor], path: Path) -> None:
    save_file(dict(state), path)


def _exported(state: dict[str, torch.Tensor], path: Path) -> None:
    model = small().eval()
    model.load_state_dict(state)
    program = torch.export.export(model, (torch.zeros(2, 4),))
    with path.open("wb") as file:
        torch.export.save(program, file)


@pytest.mark.parametrize("write", [_zip, _legacy, _safetensors, _exported])
@pytest.mark.parametrize("name", ["w.pth", "w.safetensors", "w.pt2", "w.bin", "weights"])
def test_formats_are_recognised_by_content(write: Write, name: str, tmp_path: Path) -> None:
    """The four formats are read under any suffix, and give the same tensors."""
    state = small().state_dict()
    write(state, tmp_path / name)
    assert equal(read_state_dict(tmp_path / name).tensors, state)


def test_an_exported_archive_runs_no_code(tmp_path: Path) -> None:
    """Of a torch.export archive only the weights are read: a pickle that hides in it is not loaded."""
    _exported(small().state_dict(), tmp_path / "clean.pt2")
    with zipfile.ZipFile(tmp_path / "clean.pt2") as clean, zipfile.ZipFile(tmp_path / "evil.pt2", "w") as evil:
        for name in clean.namelist():
            content = clean.read(name)
            evil.writestr(name, pickle.dumps(Running(tmp_path / "ran")) if "sample_inputs" in name else content)
    assert equal(read_state_dict(tmp_path / "evil.pt2").tensors, small().state_dict())
    assert not (tmp_path / "ran").exists()


def test_an_exported_archive_keeps_dtypes_and_strides(tmp_path: Path) -> None:
    """Half precision, integers, empty tensors and transposed memory come back as they were."""
    module = nn.Module()
    module.forward = lambda x: x + module.a.sum()  # type: ignore[method-assign]
    values = {
        "a": torch.randn(3, 4).t(), "b": torch.randn(5).bfloat16(), "c": torch.arange(6), "d": torch.zeros(0, 3),
        "e": torch.randn(2).half(), "f": torch.tensor(True), "g": torch.randn(10)[3:7],
    }  # fmt: skip
    for name, value in values.items():
        module.register_buffer(name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of the slice, whose storage is saved whole
        torch.export.save(torch.export.export(module, (torch.zeros(2),)), tmp_path / "w.pt2")
    read = read_state_dict(tmp_path / "w.pt2").tensors
    assert equal(read, values)
    assert {k: v.dtype for k, v in read.items()} == {k: v.dtype for k, v in values.items()}


def test_a_torchscript_archive_says_how_to_convert_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A TorchScript archive is refused as code, and the way out in the message works."""
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(small().eval(), torch.zeros(2, 4)).save("w.pt")
        with pytest.raises(WeightsError, match="TorchScript") as caught:
            read_state_dict(Path("w.pt"))
        exec(str(caught.value).split("`")[1], {})
    assert equal(read_state_dict(Path("weights.pth")).tensors, small().state_dict())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (HTML_PAGE, "a web page"),
        (b"\n<html>nothing here</html>", "a web page"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "git lfs pull"),
        (b"", "0 bytes.*empty"),
        (b"PK\x03\x04", "truncated"),
        (b"not a checkpoint at all", "no checkpoint"),
        (b'{"error": "not found"}', "no checkpoint"),
        (b"\x00" * 4096, "no checkpoint"),
        (pickle.dumps([1, 2, 3]), "no checkpoint|no tensors"),
    ],
)
def test_what_is_no_checkpoint_is_one_sentence(content: bytes, words: str, tmp_path: Path) -> None:
    """Web pages, Git LFS pointers, empty and foreign files are called what they are."""
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=rf"w\.pth .*({words})") as caught:
        read_state_dict(tmp_path / "w.pth")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("write", [_zip, _legacy, _safetensors, _exported])
def test_damaged_files_are_one_sentence(write: Write, tmp_path: Path) -> None:
    """A file cut anywhere, or with a broken byte anywhere in its structure, never ends in another error."""
    path = tmp_path / "w.pth"
    write(small().state_dict(), path)
    content = path.read_bytes()
    for cut in range(0, len(content), len(content) // 40):
        path.write_bytes(content[:cut])
        with pytest.raises(WeightsError, match=r"w\.pth"):
            read_state_dict(path)
    for place in range(0, len(content), len(content) // 60):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        try:
            read_state_dict(path)
        except WeightsError as error:
            assert "\n" not in str(error)  # noqa: PT017  # a byte of a value may break without a trace
