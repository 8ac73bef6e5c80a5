"""Read an ONNX file with its large initializers left on disk, as external data that lie in the file itself."""

import mmap
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

LARGE_BYTES = 1024
"""Size up to which initializers are read: shapes and other constants that shape inference needs."""
SIDECAR_KEY = "assay.sidecar_sha256"
"""Key of a model's metadata: the SHA-256 of its external data, where it has any."""
GRAPH_FIELD, INITIALIZER_FIELD, RAW_DATA_FIELD = 7, 5, 9
"""Numbers in onnx.proto of ModelProto.graph, GraphProto.initializer, TensorProto.raw_data."""
_VARINT, _FIXED64, _DELIMITED, _FIXED32 = 0, 1, 2, 5
"""Protobuf's wire types."""

_PACKED = ("INT4", "UINT4", "FLOAT4E2M1", "INT2", "UINT2")
"""Dtypes with several elements in one byte."""

_Field = tuple[int, int, int, int]
"""Field number, and the byte offsets of its tag, its content and its end."""


def read_without_weights(path: Path) -> onnx.ModelProto:
    """Read a model with its large initializers left on disk, as external data that lie in the file itself.

    Parsing a whole file of n bytes takes 2 n of memory. An initializer whose bytes do not fit its dims and dtype is
    read as it is, so that the checker sees it.

    Raises:
        OSError: the file can't be read.
        ValueError, or protobuf's DecodeError: the file is empty or no protobuf.
    """
    path = path.resolve()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        model = onnx.ModelProto()
        for number, begin, content, end in _fields(data, 0, len(data)):
            if number != GRAPH_FIELD:
                model.MergeFromString(data[begin:end])
                continue
            for inner, inner_begin, inner_content, inner_end in _fields(data, content, end):
                if inner == INITIALIZER_FIELD:
                    model.graph.initializer.append(_tensor(data, inner_content, inner_end, name=path.name))
                else:
                    model.graph.MergeFromString(data[inner_begin:inner_end])
    return model


def sidecars(path: Path) -> dict[str, int]:
    """Names of the files that hold external data of a model, and the least number of bytes that each must have."""
    sizes: dict[str, int] = {}
    model = read_without_weights(path)
    for tensor in (tensor for part in (model.graph, *model.functions) for tensor in _tensors(part)):
        name = location(tensor)
        if name not in ("", path.resolve().name):
            said = {entry.key: entry.value for entry in tensor.external_data}
            length = said.get("length") or _size_bytes(tensor) or 0
            sizes[name] = max(sizes.get(name, 0), int(said.get("offset", 0)) + int(length))
    return dict(sorted(sizes.items()))


def location(tensor: onnx.TensorProto) -> str:
    """Name of the file that holds a tensor's external data; empty if the values are in the message."""
    is_external = tensor.data_location == onnx.TensorProto.EXTERNAL
    return next((entry.value for entry in tensor.external_data if entry.key == "location"), "") if is_external else ""


def values(tensor: onnx.TensorProto, path: Path) -> NDArray[Any]:
    """Load the values of an initializer.

    Args:
        tensor: of a model from `read_without_weights`.
        path: the file from which that was read.
    """
    if location(tensor) != path.name:
        return np.asarray(onnx.numpy_helper.to_array(tensor, str(path.parent)))
    # onnx refuses external data in a file of several hard links; this is the very file that was read
    offset = next(int(entry.value) for entry in tensor.external_data if entry.key == "offset")
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    return np.fromfile(path, dtype, prod(tensor.dims), offset=offset).reshape(tensor.dims)


def weights_as_inputs(model: onnx.ModelProto) -> onnx.ModelProto:
    """Copy a model, with initializers that are external data turned into inputs of the same dtype and dims."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    inputs = {value.name for value in copy.graph.input}
    kept = [tensor for tensor in copy.graph.initializer if tensor.data_location != onnx.TensorProto.EXTERNAL]
    for tensor in copy.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL and tensor.name not in inputs:
            copy.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    del copy.graph.initializer[:]
    copy.graph.initializer.extend(kept)
    return copy


def _tensors(graph: onnx.GraphProto | onnx.FunctionProto) -> Iterator[onnx.TensorProto]:
    """Initializers and tensor attributes, including those in the bodies of branches and loops."""
    yield from getattr(graph, "initializer", ())
    for attribute in (attribute for node in graph.node for attribute in node.attribute):
        yield from (attribute.t, *attribute.tensors)
        for inner in (attribute.g, *attribute.graphs):
            yield from _tensors(inner)


def _tensor(data: mmap.mmap, begin: int, end: int, *, name: str) -> onnx.TensorProto:
    fields = list(_fields(data, begin, end))
    raw = [field for field in fields if field[0] == RAW_DATA_FIELD]
    if len(raw) != 1 or raw[0][3] - raw[0][2] <= LARGE_BYTES:
        return _parsed(data[begin:end])
    _, _, content, stop = raw[0]
    tensor = onnx.TensorProto()
    for number, tag, _, field_end in fields:
        if number != RAW_DATA_FIELD:
            tensor.MergeFromString(data[tag:field_end])
    if stop - content != _size_bytes(tensor) or tensor.data_location != onnx.TensorProto.DEFAULT:
        return _parsed(data[begin:end])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", name), ("offset", content), ("length", stop - content)):
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def _parsed(message: bytes) -> onnx.TensorProto:
    tensor = onnx.TensorProto()
    tensor.ParseFromString(message)
    return tensor


def _size_bytes(tensor: onnx.TensorProto) -> int | None:
    """Number of bytes by dims and dtype; None for dtypes that are unknown or packed."""
    try:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    except KeyError:
        return None
    is_packed = onnx.helper.tensor_dtype_to_string(tensor.data_type).rpartition(".")[2] in _PACKED
    return None if is_packed else prod(tensor.dims) * dtype.itemsize


def _fields(data: mmap.mmap, begin: int, end: int) -> Iterator[_Field]:
    position = begin
    while position < end:
        tag, content = _varint(data, position, end)
        wire_type = tag & 7
        if wire_type == _VARINT:
            stop = _varint(data, content, end)[1]
        elif wire_type == _DELIMITED:
            size, content = _varint(data, content, end)
            stop = content + size
        elif wire_type in (_FIXED32, _FIXED64):
            stop = content + (4 if wire_type == _FIXED32 else 8)
        else:
            raise ValueError(f"wire type {wire_type} at byte {position}")
        if stop > end:
            raise ValueError(f"a field at byte {position} ends {stop - end} bytes late")
        yield tag >> 3, position, content, stop
        position = stop


def _varint(data: mmap.mmap, position: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= end:
            break
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError(f"no number ends before byte {position}")
