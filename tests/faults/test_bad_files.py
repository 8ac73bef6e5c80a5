"""Every bad file: status 2, one sentence of at most 500 characters, and nothing that it holds is run."""

import collections
import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from tasks.core.errors import AssayError
from tasks.core.inputs.samples import read_sample
from tasks.core.onnx_files.reading import read_graph
from tasks.core.spec.catalog import read_catalog
from tasks.core.weights.checkpoint_files import read_sets
from tasks.core.weights.foreign_files import NeedsCodeError
from tests.faults.peak_memory import peak_below

TENSORS = {"weight": torch.ones(2, 2), "bias": torch.zeros(2)}
LONG = "k" * 100_000


class _Canary:
    """Makes a file when it is loaded by whoever runs code."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        """Touch `canary` in the working directory."""
        return os.mkdir, ("canary",)


def _saved(content: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def _zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _header(text: str) -> bytes:
    """A .npy that claims to be what a header says."""
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text) + 1) + text.encode() + b"\n"


def _safetensors(header: bytes, *, size: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if size is None else size) + header


def _onnx(change: Callable[[onnx.ModelProto], object] = lambda _: None) -> bytes:
    value, out = (onnx.helper.make_tensor_value_info(name, 1, [2]) for name in "xy")
    graph = onnx.helper.make_graph([onnx.helper.make_node("Neg", ["x"], ["y"])], "g", [value], [out])
    model = onnx.helper.make_model(graph)
    change(model)
    return bytes(model.SerializeToString())


def _nested(times: int) -> Any:
    value: Any = dict(TENSORS)
    for _ in range(times):
        value = {"a": value}
    return value


GOOD = _saved(TENSORS)
WEIGHTS: dict[str, bytes] = {
    "empty": b"",
    "a byte": b"\x80",
    "text": b"hello",
    "zeros": bytes(1000),
    "cut": GOOD[: len(GOOD) // 2],
    "cut at the end": GOOD[:-30],
    "no tensors": _saved({"epoch": 3}),
    "nothing": _saved(None),
    "an empty dict": _saved({}),
    "a long key": _saved({LONG: 1}),
    "markup for a key": _saved({"<script>": 1, "\x1b[2J": 2}),
    "tensors too deep": _saved(_nested(9)),
    "a canary": _saved({"weight": _Canary()}),
    "a canary, old format": _saved({"weight": _Canary()}, _use_new_zipfile_serialization=False),
    "a canary, plain pickle": pickle.dumps({"weight": _Canary()}),
    "a canary behind tensors": _saved({**TENSORS, "more": _Canary()}),
    "a whole module": _saved(torch.nn.Linear(2, 2)),
    "numpy's objects": pickle.dumps({"w": np.array([object], dtype=object)}),
    "an unknown global": b"\x80\x02cposix\nsystem\nq\x00.",
    "a long global": b"\x80\x02c" + b"m" * 50_000 + b"\nn\n.",
    "a stack that is empty": b"\x80\x02.",
    "memory for nothing": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40),
    "a frame that lies": b"\x80\x04\x95" + struct.pack("<Q", 1 << 60) + b".",
    "nested pickle": b"\x80\x02" + b"(" * 100_000 + b".",
    "nested lists": b"\x80\x02" + b"]" * 50_000 + b"a" * 49_999 + b".",
    "broadcast": _saved({"w": torch.zeros(1).expand(10**10)}),
    "without values": _saved({"w": torch.empty(10**10, device="meta")}),
    "zip of nothing": _zipped({}),
    "zip of text": _zipped({"readme.txt": b"hi"}),
    "zip with a strange name": _zipped({"../../etc/passwd": b"x"}),
    "zip with a false pickle": _zipped({"a/data.pkl": b"\x80\x02K\x01.", "a/version": b"3"}),
    "zip with a canary": _zipped({"a/data.pkl": pickle.dumps(_Canary()), "a/version": b"3"}),
    "TorchScript": _zipped({"a/constants.pkl": b"", "a/data.pkl": b""}),
    "npz of objects": _npz(w=np.array([{}], dtype=object)),
    "npz of text": _npz(w=np.array(["a"])),
    "npz that lies": _zipped({"w.npy": _header("{'descr': '<f4', 'fortran_order': False, 'shape': (10000000000,)}")}),
    "npz with code": _zipped({"w.npy": _header("__import__('os').mkdir('canary')")}),
    "pt2 without weights": _zipped({"a/data/weights/model_weights_config.json": b"{}"}),
    "pt2 nested": _zipped({"a/data/weights/model_weights_config.json": b"[" * 100_000}),
    "pt2 that lies": _zipped({"a/data/weights/model_weights_config.json": json.dumps({"config": {"w": {
        "path_name": "w", "use_pickle": False, "tensor_meta": {
            "dtype": 7, "sizes": [{"as_int": 10**9}], "strides": [{"as_int": 1}], "storage_offset": {"as_int": 0}}}}}
        ).encode(), "a/data/weights/w": b"abcd"}),
    "safetensors, huge header": _safetensors(b"{", size=1 << 60),
    "safetensors, nested": _safetensors(b'{"a":' * 50_000),
    "safetensors that lies": _safetensors(b'{"w":{"dtype":"F32","shape":[1000000000],"data_offsets":[0,4]}}'),
    "safetensors, negative": _safetensors(b'{"w":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}'),
    "gzip": b"\x1f\x8b" + bytes(50),
    "tar": bytes(257) + b"ustar" + bytes(250),
    "web page": b"<!DOCTYPE html>" + b"<p>" * 100_000,
    "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
}  # fmt: skip
SAMPLES: dict[str, bytes] = {
    "empty": b"",
    "text": b"x" * 1000,
    "one array": _header("{'descr': '<f4', 'fortran_order': False, 'shape': (0,)}"),
    "objects": _npz(x=np.array([{}], dtype=object)),
    "a canary": pickle.dumps(_Canary()),
    "cut": _npz(x=np.zeros(1000))[:500],
    "that lies": WEIGHTS["npz that lies"],
    "with code": WEIGHTS["npz with code"],
    "nested header": _zipped({"x.npy": _header("(" * 5000)}),
    "no npy": _zipped({"x.npy": b"hello"}),
    "dtype of 10**9 bytes": _zipped({"x.npy": _header("{'descr': '<V9999999999', 'shape': (9,)}")}),
}  # fmt: skip
ONNX: dict[str, bytes] = {
    "empty": b"",
    "text": b"hello",
    "zeros": bytes(100),
    "cut": _onnx()[:-5],
    "a length that lies": b"\x3a\xff\xff\xff\xff\x0f" + bytes(10),
    "a number that never ends": b"\x3a" + b"\xff" * 100,
    "groups": b"\x0b" * 100,
    "nested": b"",
    "no output": _onnx(lambda model: model.graph.ClearField("output")),
    "no graph": _onnx(lambda model: model.ClearField("graph")),
    "garbled": bytes(byte ^ 0x55 for byte in _onnx()),
    "a checkpoint": GOOD,
}
CATALOGS: dict[str, bytes] = {
    "not UTF-8": b"n\xe9: {model: a}",
    "UTF-16": "a: {model: b}".encode("utf-16"),
    "numbers for names": b"1: {model: a}",
    "numbers for fields": b"a: {1: b}",
    "nulls for names": b"~: {model: a}",
    "dates for names": b"2024-01-01: {model: a}",
    "a list": b"- a",
    "text": b"hello",
    "no fields": b"a: b",
    "nested": b"a: " + b"[" * 5000 + b"]" * 5000,
    "nested maps": b"a: " + b"{a: " * 40 + b"1" + b"}" * 40,
    "itself": b"a: &a {b: *a}",
    "laughs": b"l0: &l0 {k: v}\n" + b"".join(
        b"l%d: &l%d {a: *l%d, b: *l%d, c: *l%d, d: *l%d}\n" % (i, i, *(i - 1,) * 4) for i in range(1, 20)),
    "open": b"a: {",
    "a tag": b"a: !!python/object/apply:os.mkdir [canary]",
    "a wrong date": b"a: {b: 2024-13-45}",
    "two documents": b"a: {model: b}\n---\nb: {model: c}",
    "control signs": b"a: \x00",
    "a long line": b"a: " + b"x" * 1_000_000,
}  # fmt: skip
CASES = [
    *((read_sets, "w.pth", kind, content) for kind, content in WEIGHTS.items()),
    *((read_sample, "x.npz", kind, content) for kind, content in SAMPLES.items()),
    *((read_graph, "m.onnx", kind, content) for kind, content in ONNX.items()),
    *((read_catalog, "catalog.yaml", kind, content) for kind, content in CATALOGS.items()),
]


@pytest.fixture(scope="module", autouse=True)
def _little_memory() -> Iterator[None]:
    """None of them takes 2 GiB of memory."""
    with peak_below(2 << 30):
        yield


@pytest.mark.parametrize(
    ("read", "name", "content"),
    [(*case[:2], case[3]) for case in CASES],
    ids=[f"{case[1]}: {case[2]}" for case in CASES],
)
def test_a_bad_file_gets_one_sentence_and_status_2(
    read: Callable[[Path], object], name: str, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it holds; a pickle that needs code gets a line that converts it, too."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(AssayError) as caught:
        read(tmp_path / name)
    said = str(caught.value)
    assert caught.value.exit_status == 2
    assert (
        20 < len(said) <= (NeedsCodeError.longest if isinstance(caught.value, NeedsCodeError) else AssayError.longest)
    )
    assert said.isprintable()
    assert name in said
    assert not (tmp_path / "canary").exists()


def test_there_are_enough() -> None:
    """Beside the bad command lines."""
    assert len(CASES) >= 80
    assert collections.Counter(case[:3] for case in CASES).most_common(1)[0][1] == 1
