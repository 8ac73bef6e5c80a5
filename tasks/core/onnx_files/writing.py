"""Write a model as deterministic bytes, streaming its large weights, so that the file never exists in memory."""

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from tasks.core.onnx_files.lazy_reading import GRAPH_FIELD, INITIALIZER_FIELD, LARGE_BYTES, RAW_DATA_FIELD, SIDECAR_KEY

MAX_FILE_BYTES = 2**31 - 1
"""Protobuf's limit for one message."""
_Bytes = bytes | memoryview
_Weights = Mapping[str, ir.TensorProtocol]


def write(model: ir.Model, path: Path) -> tuple[str, Path | None]:
    """Write a model; return its SHA-256, and the sidecar of weights that exceed protobuf's limit of 2 GB, if any.

    The sidecar is named by its content, because the file refers to it by name: two files in one folder whose weights
    differ need two sidecars. Its SHA-256 goes into the file's metadata.

    Args:
        model: gets the metadata entry; is otherwise unchanged.
        path: of the file, which is replaced.
    """
    initializers = model.graph.initializers
    tensors = {name: value.const_value for name, value in initializers.items() if value.const_value is not None}
    weights = {name: tensor for name, tensor in tensors.items() if tensor.nbytes > LARGE_BYTES}
    sidecar = None
    if sum(tensor.nbytes for tensor in weights.values()) > MAX_FILE_BYTES - (64 << 20):
        part = path.parent / "weights.part"
        sha256 = _write(part, _sidecar_pieces(weights))
        sidecar = part.replace(path.parent / f"weights-{sha256[:16]}.data")
        model.metadata_props[SIDECAR_KEY] = sha256
    streamed = {name: initializers.pop(name) for name in weights}
    header = ir.to_proto(model)
    initializers.update(streamed)
    return _write(path, _file_pieces(header, weights, sidecar.name if sidecar else "")), sidecar


def _write(path: Path, pieces: Iterable[_Bytes]) -> str:
    """Write the pieces of a file; return its SHA-256."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for piece in pieces:
            file.write(piece)
            digest.update(piece)
    return digest.hexdigest()


def _offsets(weights: _Weights) -> Iterator[int]:
    """Byte offsets in a sidecar, aligned to pages of 4,096 bytes so that it can be mapped."""
    return itertools.accumulate((-(-tensor.nbytes // 4096) * 4096 for tensor in weights.values()), initial=0)


def _sidecar_pieces(weights: _Weights) -> Iterator[_Bytes]:
    end = 0
    for tensor, offset in zip(weights.values(), _offsets(weights), strict=False):
        yield b"\0" * (offset - end)
        yield _raw(tensor)
        end = offset + tensor.nbytes


def _file_pieces(header: onnx.ModelProto, weights: _Weights, sidecar: str) -> Iterator[_Bytes]:
    """The header with weights added to its graph as initializers, without building the message in memory."""
    graph = header.graph.SerializeToString(deterministic=True)
    header.ClearField("graph")
    heads: list[bytes] = []
    size = len(graph)
    for (name, tensor), offset in zip(weights.items(), _offsets(weights), strict=False):
        proto = onnx.TensorProto(name=name, dims=list(tensor.shape.numpy()), data_type=int(tensor.dtype))
        if sidecar:
            proto.data_location = onnx.TensorProto.EXTERNAL
            for key, value in (("location", sidecar), ("offset", offset), ("length", tensor.nbytes)):
                proto.external_data.add(key=key, value=str(value))
        num_inside = 0 if sidecar else tensor.nbytes
        head = proto.SerializeToString(deterministic=True) + (_field(RAW_DATA_FIELD, num_inside) if num_inside else b"")
        heads.append(_field(INITIALIZER_FIELD, len(head) + num_inside) + head)
        size += len(heads[-1]) + num_inside
    yield header.SerializeToString(deterministic=True)
    yield _field(GRAPH_FIELD, size)
    yield graph
    for head, tensor in zip(heads, weights.values(), strict=True):
        yield head
        if not sidecar:
            yield _raw(tensor)


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
