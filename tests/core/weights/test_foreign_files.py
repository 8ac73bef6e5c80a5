"""What is no checkpoint is called what it is, with the way out, in one sentence."""

import bz2
import gzip
import io
import lzma
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from tasks.core.errors import WeightsError
from tests.core.weights.checkpoints import equal, read_state_dict, save, small


def test_an_archive_says_how_to_unpack_it(tmp_path: Path) -> None:
    """A .tar.gz, .tar and .gz, as releases are published, are named under any suffix; what is inside loads."""
    inner = save(small().state_dict(), tmp_path / "w.pth")
    for name, mode in (("net.tar.gz", "w:gz"), ("net.tgz", "w:gz"), ("net.tar", "w"), ("net.pth", "w:gz")):
        with tarfile.open(tmp_path / name, mode) as archive:
            archive.add(inner, "w.pth")
        with pytest.raises(WeightsError, match=rf"{name} .* tar archive; unpack it with `tar -xf {name}`"):
            read_state_dict(tmp_path / name)


@pytest.mark.parametrize("name", ["w.pth.gz", "one file.pth", "one file.tar"])
def test_the_command_in_the_message_unpacks_the_file(name: str, tmp_path: Path) -> None:
    """Under any suffix, and with blanks in the name."""
    inner = save(small().state_dict(), tmp_path / "inner.pth")
    content = gzip.compress(inner.read_bytes())
    if name.endswith(".tar"):
        with tarfile.open(tmp_path / name, "w") as archive:
            archive.add(inner, "unpacked.pth")
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match="unpack it with `") as caught:
        read_state_dict(tmp_path / name)
    subprocess.run(str(caught.value).split("`")[1], shell=True, cwd=tmp_path, check=True)
    assert equal(read_state_dict(tmp_path / "unpacked.pth").tensors, small().state_dict())


def test_the_usual_suffix_of_a_checkpoint_is_no_archive(tmp_path: Path) -> None:
    """`model_best.pth.tar`, as PyTorch's ImageNet example calls its checkpoint, is one."""
    path = save({"state_dict": small().state_dict()}, tmp_path / "model_best.pth.tar")
    assert equal(read_state_dict(path).tensors, small().state_dict())


def _zip(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"content")
    return buffer.getvalue()


def _array() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.ones(3))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("w.pth.bz2", bz2.compress(b"w"), "compressed by bzip2; unpack it"),
        ("w.pth.xz", lzma.compress(b"w"), "compressed by xz; unpack it"),
        ("w.pth", b"\x28\xb5\x2f\xfd" + bytes(20), "compressed by zstd"),
        ("w.7z", b"7z\xbc\xaf\x27\x1c" + bytes(20), "7z archive"),
        ("w.rar", b"Rar!\x1a\x07\x01\x00" + bytes(20), "RAR archive"),
        ("w.h5", b"\x89HDF\r\n\x1a\n" + bytes(20), "HDF5 file, as Keras writes them"),
        ("w.gguf", b"GGUF" + bytes(20), "GGUF file of llama.cpp; give the .safetensors"),
        ("w.tflite", b"\x1c\0\0\0TFL3" + bytes(20), "TensorFlow Lite"),
        ("w.npy", _array(), r"one array without a name; save an \.npz"),
        ("w.mat", b"MATLAB 5.0 MAT-file, Platform: GLNXA64", "file of MATLAB"),
        ("w.onnx", onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [])).SerializeToString(),
         r"ONNX file, not weights; flows/verify\.py proves it"),
        ("flax_model.msgpack", b"\x81\xa6params\x80", "file of Flax"),
        ("model.ckpt-100.index", b"\0\0\x01", "checkpoint of TensorFlow"),
        ("model.ckpt-100.data-00000-of-00001", bytes(64), "checkpoint of TensorFlow"),
        ("frozen.pb", b"\n\x10", "graph of TensorFlow"),
        ("w.pdparams", b"x", "PaddlePaddle"),
        ("config.json", b'{"hidden_size": 8}', "is JSON, not weights"),
        ("net.py", b"import torch\n", r"Python code, not weights; give it as MODEL, as file\.py:Class"),
        ("net.keras", _zip("metadata.json", "config.json", "model.weights.h5"), "model of Keras"),
        ("net.mar", _zip("net.pth", "MAR-INF/MANIFEST.json"), "archive of TorchServe"),
        ("artifact.zip", _zip("checkpoints/best.pth", "log.txt"), r"zip archive that PyTorch did not write \(checkpoi"),
    ],
)  # fmt: skip
def test_files_of_other_tools_are_called_what_they_are(name: str, content: bytes, words: str, tmp_path: Path) -> None:
    """Each is told by its content, else by its name, and the sentence says what to give instead."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=rf"^{name} \([\d,]+ bytes\) .*{words}") as caught:
        read_state_dict(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_arrays_by_name_are_weights(write: Callable[..., None], tmp_path: Path) -> None:
    """An .npz gives its arrays as tensors, in any byte order."""
    state = {key: value.numpy() for key, value in small().state_dict().items()}
    state["stem.weight"] = state["stem.weight"].astype(">f4")
    write(tmp_path / "w.npz", **state)
    assert equal(dict(read_state_dict(tmp_path / "w.npz").tensors), dict(small().state_dict()))


def test_objects_in_an_npz_are_not_unpickled(tmp_path: Path) -> None:
    """An array of objects is a pickle: it is refused."""
    np.savez(tmp_path / "w.npz", w=np.array([{"a": 1}], dtype=object))
    with pytest.raises(WeightsError, match="allow_pickle=False"):
        read_state_dict(tmp_path / "w.npz")
