"""Pickles are loaded as far as they hold values; what needs code is refused with a line that converts it."""

import argparse
import collections
import contextlib
import datetime
import functools
import io
import os
import pathlib
import pickle
import pickletools
import random
import struct
import subprocess
import sys
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import mlflow
import numpy as np
import pytest
import torch
from torch import nn

from tasks.core.errors import WeightsError
from tasks.core.weights.checkpoint_files import read_sets
from tests.core.weights.checkpoints import Running, equal, read_state_dict, save, small, timm_checkpoint


class Settings:
    """A class of a trainer's own."""

    def __init__(self) -> None:
        self.lr = 0.1


def arrays() -> dict[str, np.ndarray]:
    """The weights of the small module, as arrays."""
    return {key: value.numpy() for key, value in small().state_dict().items()}


@pytest.mark.parametrize(
    "beside",
    [
        argparse.Namespace(lr=0.1, betas=(0.9, 0.99), nested=argparse.Namespace(output=Path("out"))),
        np.float64(0.25), np.float32(0.5), np.int64(3), np.bool_(True), np.str_("best"), np.complex64(1j),
        np.dtype("float32"), np.dtype(">i2"), np.arange(6).reshape(2, 3), np.random.RandomState(0).get_state(),
        pathlib.PurePosixPath("a/b"), torch.torch_version.TorchVersion("2.14.1"), torch.__version__,
        {"scores": [np.float64(0.1), np.float64(0.2)], "shape": np.array([3, 4]).shape},
    ],
    ids=repr,
)  # fmt: skip
@pytest.mark.parametrize("is_zip", [True, False])
def test_values_beside_the_weights_do_no_harm(beside: Any, is_zip: bool, tmp_path: Path) -> None:
    """Scalars, dtypes and arrays of numpy, arguments, paths and PyTorch's version load by the safe loader."""
    content = {"state_dict": small().state_dict(), "beside": beside}
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=is_zip)
    found = {item.label: item for item in read_sets(tmp_path / "w.pth")}["state_dict"]
    assert equal(found.tensors, small().state_dict())


def test_numpys_old_names_are_known(tmp_path: Path) -> None:
    """A checkpoint of numpy 1 names `numpy.core`, one of numpy 2 `numpy._core`: both load."""
    content = {"state_dict": small().state_dict(), "best": np.float64(0.5)}
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    data = (tmp_path / "w.pth").read_bytes()
    assert b"numpy._core.multiarray" in data
    (tmp_path / "old.pth").write_bytes(data.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"))
    assert equal(read_state_dict(tmp_path / "old.pth").tensors, small().state_dict())


def test_timms_own_checkpoint_loads(tmp_path: Path) -> None:
    """Timm writes its arguments and a scalar of numpy beside the weights."""
    content = timm_checkpoint(small())
    del content["state_dict_ema"]
    assert read_state_dict(save(content, tmp_path / "w.pth")).label == "state_dict"


def _settings() -> Any:
    return Settings()


@pytest.mark.parametrize(
    "beside",
    [
        _settings, functools.partial, os.system, getattr, eval, print, torch.load, np.load, random.Random(0),
        functools.partial(print, 1), collections.defaultdict(list), types.SimpleNamespace(a=1),
        np.random.default_rng(0), datetime.timedelta(1), io.BytesIO(b"x"), Settings(), nn.Linear(1, 1),
        argparse.ArgumentParser, sys.exit, np.ma.masked_array([1.0]), np.array([Settings()], dtype=object),
    ],
    ids=lambda value: getattr(value, "__qualname__", type(value).__qualname__),
)  # fmt: skip
def test_nothing_else_is_let_in(beside: Any, tmp_path: Path) -> None:
    """Functions, classes and objects beyond those few are refused, though torch.save may write them."""
    torch.save({"state_dict": small().state_dict(), "beside": beside}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"needs code to be loaded \([\w.]+\)"):
        read_state_dict(tmp_path / "w.pth")
    (tmp_path / "w.pkl").write_bytes(pickle.dumps({"w": np.ones(3), "beside": beside}))
    with pytest.raises(WeightsError, match=r"needs code to be loaded \([\w.]+\)"):
        read_state_dict(tmp_path / "w.pkl")


def test_the_safe_list_ends_with_the_reading(tmp_path: Path) -> None:
    """What is let in while a file is read is not let in for the rest of the process."""
    before = set(map(repr, torch.serialization.get_safe_globals()))
    read_state_dict(save({**small().state_dict(), "args": argparse.Namespace()}, tmp_path / "w.pth"))
    assert set(map(repr, torch.serialization.get_safe_globals())) == before


def test_pickles_run_no_code(tmp_path: Path) -> None:
    """A pickle that would run a function is refused before it does."""
    for legacy in (True, False):
        torch.save({"w": torch.ones(1), "x": Running(tmp_path / "ran")}, tmp_path / "evil.pth",
                   _use_new_zipfile_serialization=not legacy)  # fmt: skip
        with pytest.raises(WeightsError, match="needs code"):
            read_state_dict(tmp_path / "evil.pth")
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(Running(tmp_path / "ran")))
    with pytest.raises(WeightsError, match="needs code"):
        read_state_dict(tmp_path / "evil.pkl")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "name", ["numpy.ndarray", "numpy.dtype", "collections.OrderedDict", "numpy._core.multiarray.scalar"]
)
def test_a_pickle_changes_no_class(name: str, tmp_path: Path) -> None:
    """A pickle can set attributes of what it names: nothing that a pickle of arrays may name takes one."""
    module, _, attribute = name.rpartition(".")
    item = lambda text: b"X" + struct.pack("<I", len(text)) + text.encode()  # noqa: E731
    code = b"\x80\x02c" + f"{module}\n{attribute}\n".encode() + b"N}" + item("planted") + b"K\x01s\x86b."
    assert "BUILD" in {opcode.name for opcode, _, _ in pickletools.genops(code)}
    (tmp_path / "w.pkl").write_bytes(code)
    with pytest.raises(WeightsError):
        read_state_dict(tmp_path / "w.pkl")
    found: Any = __import__(module, fromlist=[attribute])
    assert not hasattr(getattr(found, attribute), "planted")


def opcodes(value: Any) -> bytes:
    """The opcodes of a pickle that leave a value on the stack, or a global, as "module name"."""
    match value:
        case [function, arguments]:
            return opcodes(function) + opcodes(arguments) + b"R"
        case tuple():
            return b"(" + b"".join(map(opcodes, value)) + b"t"
        case dict():
            return b"}(" + b"".join(opcodes(item) for pair in value.items() for item in pair) + b"u"
        case str() if " " in value:
            return b"c" + value.replace(" ", "\n").encode() + b"\n"
    return pickle.dumps(value, protocol=2)[2:-1]


@pytest.mark.parametrize("suffix", [".pkl", ".pth"])
@pytest.mark.parametrize("text", ["O8", "V16"])
def test_a_forged_dtype_leads_to_no_address(text: str, suffix: str, tmp_path: Path) -> None:
    """Numpy follows what a dtype says that a pickle has given another state: fields of objects, and no flag of them."""
    dtype = opcodes(["numpy dtype", (text, False, True)])
    fields = (
        b"}(" + b"".join(opcodes(key) + b"(" + dtype + opcodes(at) + b"t" for key, at in (("a", 0), ("b", 8))) + b"u"
    )
    forged = dtype + b"(" + opcodes(3) + opcodes("|") + b"N" + opcodes(("a", "b")) + fields + b"K\x10K\x01K\x00tb"
    array = opcodes(["numpy.core.multiarray _reconstruct", ("numpy ndarray", (0,), "b")])
    content = opcodes(["_codecs encode", ("A" * 16, "latin1")])
    array += b"(" + opcodes(1) + opcodes((1,)) + forged + b"\x89" + content + b"tb"
    code = b"\x80\x02}" + opcodes("w") + array + b"s."
    path = tmp_path / f"w{suffix}"
    path.write_bytes(code)
    if suffix == ".pth":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("w/data.pkl", code)
            archive.writestr("w/version", "3")
    with pytest.raises(WeightsError, match=r"needs code to be loaded \(numpy\.\w+\)"):
        read_sets(path)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("nesting", [(), ("model",), ("model", "params")])
def test_a_pickle_of_arrays_is_weights(protocol: int, nesting: tuple[str, ...], tmp_path: Path) -> None:
    """Arrays by name that pickle.dump wrote, as detectron2's model zoo has them, load without code."""
    content: Any = arrays()
    for key in reversed(nesting):
        content = {key: content, "__author__": "somebody", "matching_heuristics": True}
    (tmp_path / "w.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
    found = read_state_dict(tmp_path / "w.pkl")
    assert equal(dict(found.tensors), dict(small().state_dict()))
    assert found.nesting == nesting


def test_arrays_that_torch_saved_are_weights(tmp_path: Path) -> None:
    """A dict of arrays in a .pth is no other case."""
    assert equal(dict(read_state_dict(save(arrays(), tmp_path / "w.pth")).tensors), dict(small().state_dict()))


@pytest.mark.slow
def test_parts_of_tensors_say_how_to_save_them_whole(tmp_path: Path) -> None:
    """A file that one process of FSDP wrote by itself is no damaged one."""
    code = (
        "import sys, torch, torch.distributed as dist\n"
        "from torch.distributed.tensor import distribute_tensor, Shard, init_device_mesh\n"
        "store = dist.HashStore()\n"
        "dist.init_process_group('gloo', rank=0, world_size=1, store=store)\n"
        "mesh = init_device_mesh('cpu', (1,))\n"
        "torch.save({'w': distribute_tensor(torch.ones(4), mesh, [Shard(0)])}, sys.argv[1])\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "w.pth")], check=True, capture_output=True)
    with pytest.raises(WeightsError, match=r"parts of tensors \(FSDP\); save them whole"):
        read_state_dict(tmp_path / "w.pth")


def _torch(content: Any, path: Path) -> None:
    torch.save(content, path)


def _legacy(content: Any, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def _pickle(content: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(content))


def _joblib(content: Any, path: Path) -> None:
    joblib.dump(content, path)


@pytest.mark.parametrize("write", [_torch, _legacy, _pickle, _joblib])
@pytest.mark.parametrize(
    "content",
    [
        lambda: small(),
        lambda: {"model": small(), "epoch": 3, "args": argparse.Namespace()},
        lambda: {"my_key": small(), "settings": Settings()},
        lambda: {"state_dict": small().state_dict(), "settings": Settings()},
        lambda: {**arrays(), "settings": Settings()},
        lambda: {"net": {"weights": arrays()}, "settings": Settings(), "names": np.array([Settings()], dtype=object)},
        lambda: (small(), Settings()),
    ],
    ids=["module", "yolo", "module under a key", "state_dict", "arrays", "arrays in dicts", "tuple"],
)  # fmt: skip
def test_what_needs_code_says_how_to_convert_it(
    write: Callable[[Any, Path], None], content: Callable[[], Any], tmp_path: Path
) -> None:
    """Whatever wrote it and whatever holds the weights in it, the line in the message makes a file that loads."""
    (tmp_path / "there").mkdir()
    path = tmp_path / "there" / "w.pth"
    write(content(), path)
    _convert(path, tmp_path)
    assert equal(dict(read_state_dict(tmp_path / "weights.pth").tensors), dict(small().state_dict()))


def _convert(path: Path, folder: Path) -> None:
    """Run the line in the message that refuses a file, in another folder than the file's."""
    with pytest.raises(WeightsError, match=r"needs code to be loaded \(\w.*convert it once") as caught:
        read_state_dict(path)
    text = str(caught.value)
    assert "\n" not in text
    with contextlib.chdir(folder):
        exec(text.split("`")[1], {})


@pytest.mark.filterwarnings("ignore")
def test_a_pickle_inside_mlflow_says_how_to_convert_it(tmp_path: Path) -> None:
    """A model that MLflow pickled is loaded by MLflow in the line, from the copy that was fetched."""
    mlflow.pytorch.save_model(small(), tmp_path / "model", serialization_format="pickle", pip_requirements=["torch"])
    (path,) = (tmp_path / "model" / "data").glob("*.pth")
    _convert(path, tmp_path)
    assert equal(dict(read_state_dict(tmp_path / "weights.pth").tensors), dict(small().state_dict()))
