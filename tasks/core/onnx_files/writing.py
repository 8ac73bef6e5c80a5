"""Write a model as deterministic bytes, streaming its weights."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import onnx
import onnx_ir as ir

from tasks.core.onnx_files.lazy_reading import GRAPH_FIELD, INITIALIZER_FIELD, RAW_DATA_FIELD, SIDECAR_KEY

MAX_FILE_BYTES = 2**31 - 1
"""Protobuf's limit for one message."""
STREAMED_BYTES = 1024
"""Larger initializers are written piece by piece, so that the file never exists in memory."""


def write(model: ir.Model, path: Path) -> tuple[str, Path | None]:
    """Write a model, with its weights in a sidecar if they exceed protobuf's limit of 2 GB.

    The sidecar is named by its content, because the file refers to it by name: two files in one folder whose weights
    differ need two sidecars. Its SHA-256 goes into the file's metadata.

    Args:
        model: gets the metadata entry; is otherwise unchanged.
        path: of the file, which is replaced.

    Returns:
        The file's SHA-256, and the path of the sidecar or None.
    """
    weights = {
        n: v for n, v in model.graph.initializers.items() if v.const_value and v.const_value.nbytes > STREAMED_BYTES
    }
    sidecar = None
    is_large = sum(v.const_value.nbytes for v in weights.values() if v.const_value) > MAX_FILE_BYTES - (64 << 20)
    if is_large:
        sidecar, model.metadata_props[SIDECAR_KEY] = _write_sidecar(weights, path.parent)
    for name in weights:
        model.graph.initializers.pop(name)
    header = ir.to_proto(model)
    for name, value in weights.items():
        model.graph.initializers[name] = value
    tensors = _external(weights, sidecar.name) if sidecar else _inline(weights)
    return _write_message(path, header, tensors), sidecar


def _inline(weights: Mapping[str, ir.Value]) -> list[tuple[bytes, ir.TensorProtocol | None]]:
    """Serialized TensorProto of each initializer without its values, and the tensor whose bytes complete it."""
    messages: list[tuple[bytes, ir.TensorProtocol | None]] = []
    for name, value in weights.items():
        assert value.const_value is not None
        messages.append((_tensor_header(name, value.const_value).SerializeToString(), value.const_value))
    return messages


def _external(weights: Mapping[str, ir.Value], location: str) -> list[tuple[bytes, ir.TensorProtocol | None]]:
    messages: list[tuple[bytes, ir.TensorProtocol | None]] = []
    for name, tensor, offset in _offsets(weights):
        proto = _tensor_header(name, tensor)
        proto.data_location = onnx.TensorProto.EXTERNAL
        for key, text in (("location", location), ("offset", str(offset)), ("length", str(tensor.nbytes))):
            proto.external_data.add(key=key, value=text)
        messages.append((proto.SerializeToString(deterministic=True), None))
    return messages


def _tensor_header(name: str, tensor: ir.TensorProtocol) -> onnx.TensorProto:
    return onnx.TensorProto(name=name, dims=list(tensor.shape.numpy()), data_type=int(tensor.dtype))


def _offsets(weights: Mapping[str, ir.Value]) -> Iterator[tuple[str, ir.TensorProtocol, int]]:
    """Name, tensor and byte offset of each initializer, aligned to pages of 4,096 bytes so that it can be mapped."""
    offset = 0
    for name, value in weights.items():
        assert value.const_value is not None
        yield name, value.const_value, offset
        offset += -(-value.const_value.nbytes // 4096) * 4096


def _write_sidecar(weights: Mapping[str, ir.Value], folder: Path) -> tuple[Path, str]:
    """Write the external data to a file named by its SHA-256; return path and hash."""
    part = folder / "weights.part"
    with part.open("wb") as file:
        out = _HashedFile(file)
        for _, tensor, offset in _offsets(weights):
            out.write(b"\0" * (offset - out.size))
            out.write(_raw(tensor))
    sha256 = out.digest.hexdigest()
    return part.replace(folder / f"weights-{sha256[:16]}.data"), sha256


def _write_message(path: Path, header: onnx.ModelProto, tensors: list[tuple[bytes, ir.TensorProtocol | None]]) -> str:
    """Write the header with `tensors` added to its graph as initializers, without building the message in memory."""
    graph = header.graph.SerializeToString(deterministic=True)
    header.ClearField("graph")
    pieces = []
    for head, tensor in tensors:
        if tensor is not None:
            head += _field(RAW_DATA_FIELD, tensor.nbytes)
        pieces.append(
            (_field(INITIALIZER_FIELD, len(head) + (tensor.nbytes if tensor is not None else 0)) + head, tensor)
        )
    size = len(graph) + sum(len(head) + (t.nbytes if t is not None else 0) for head, t in pieces)
    with path.open("wb") as file:
        out = _HashedFile(file)
        out.write(header.SerializeToString(deterministic=True))
        out.write(_field(GRAPH_FIELD, size))
        out.write(graph)
        for head, tensor in pieces:
            out.write(head)
            if tensor is not None:
                out.write(_raw(tensor))
    return out.digest.hexdigest()


def _raw(tensor: ir.TensorProtocol) -> bytes | memoryview:
    """The tensor's bytes, little-endian, without a copy where its dtype is numpy's own."""
    array: Any = tensor.numpy()
    if array.dtype.kind in "fiub" and array.nbytes == tensor.nbytes:
        return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    return tensor.tobytes()


def _field(number: int, size: int) -> bytes:
    """Tag and length of a length-delimited protobuf field."""
    return bytes(_varint(number << 3 | 2)) + bytes(_varint(size))


def _varint(value: int) -> Iterator[int]:
    while value > 0x7F:
        yield value & 0x7F | 0x80
        value >>= 7
    yield value


class _HashedFile:
    """Count and hash the bytes written to a file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes | memoryview) -> None:
        self._file.write(data)
        self.digest.update(data)
        self.size += len(data)
