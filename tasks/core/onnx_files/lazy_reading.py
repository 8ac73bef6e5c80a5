"""Read an ONNX file with its large initializers left on disk, as external data that lie in the file itself."""

import mmap
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

LARGE_BYTES = 1024
"""Larger initializers are not read and written with the rest; shape inference needs shapes and other constants."""
SIDECAR_KEY = "assay.sidecar_sha256"
"""Key of a model's metadata: the SHA-256 of its external data, where it has any."""
GRAPH_FIELD, INITIALIZER_FIELD, RAW_DATA_FIELD = 7, 5, 9
"""Numbers in onnx.proto of ModelProto.graph, GraphProto.initializer, TensorProto.raw_data."""
_VARINT, _DELIMITED = 0, 2
_FIXED_BYTES = {1: 8, 5: 4}
"""Protobuf's wire types, and the sizes of those that have one."""
_Field = tuple[int, int, int, int]
"""Field number, and the byte offsets of its tag, its content and its end."""


def read_without_weights(path: Path) -> onnx.ModelProto:
    """Read a model with its large initializers left on disk, as external data that lie in the file itself.

    Parsing a whole file of n bytes takes 2 n of memory. An initializer whose bytes do not fit its dims and dtype is
    read as it is, so that the checker sees it. ValueError or protobuf's DecodeError: it is empty or no protobuf.
    """
    path = path.resolve()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        model = onnx.ModelProto()
        for number, begin, content, end in _fields(data, 0, len(data)):
            if number != GRAPH_FIELD:
                model.MergeFromString(data[begin:end])
                continue
            rest = content
            for inner, inner_begin, inner_content, inner_end in _fields(data, content, end):
                if inner == INITIALIZER_FIELD:
                    model.graph.MergeFromString(data[rest:inner_begin])  # all at once: files may have 100,000 nodes
                    model.graph.initializer.append(_tensor(data, inner_content, inner_end, name=path.name))
                    rest = inner_end
            model.graph.MergeFromString(data[rest:end])
    return model


def sidecars(path: Path) -> dict[str, int]:
    """Names of the files that hold external data of a model, and the least number of bytes that each must have."""
    sizes: dict[str, int] = {}
    model = read_without_weights(path)
    for tensor in (tensor for part in (model.graph, *model.functions) for tensor in _all_tensors(part)):
        place = ExternalDataInfo(tensor)
        if uses_external_data(tensor) and place.location not in ("", path.resolve().name):
            end = (place.offset or 0) + (place.length or _size_bytes(tensor) or 0)
            sizes[place.location] = max(sizes.get(place.location, 0), end)
    return dict(sorted(sizes.items()))


def values(tensor: onnx.TensorProto, path: Path) -> NDArray[Any]:
    """Load the values of an initializer.

    Args:
        tensor: of a model from `read_without_weights`.
        path: the file from which that was read.
    """
    place = ExternalDataInfo(tensor)
    if not uses_external_data(tensor) or place.location != path.name:
        return np.asarray(onnx.numpy_helper.to_array(tensor, str(path.parent)))
    # onnx refuses external data in a file of several hard links; this is the very file that was read
    dtype: np.dtype[Any] = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    return np.fromfile(path, dtype, prod(tensor.dims), offset=place.offset or 0).reshape(tensor.dims)


def weights_as_inputs(model: onnx.ModelProto) -> onnx.ModelProto:
    """Copy a model, with initializers that are external data turned into inputs of the same dtype and dims."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.graph.ClearField("initializer")
    inputs = {value.name for value in model.graph.input}
    for tensor in model.graph.initializer:
        if not uses_external_data(tensor):
            copy.graph.initializer.append(tensor)
        elif tensor.name not in inputs:
            copy.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return copy


def tensors_of(graph: onnx.GraphProto | onnx.FunctionProto) -> Iterator[tuple[str, onnx.TensorProto]]:
    """Initializers and tensor attributes with their names, including those in the bodies of branches and loops.

    Args:
        graph: or a function of a model.
    """
    yield from ((tensor.name, tensor) for tensor in getattr(graph, "initializer", ()))
    for node in graph.node:
        for attribute in node.attribute:
            name = (
                node.output[0]
                if node.op_type == "Constant" and node.output
                else f"{node.name or node.op_type}.{attribute.name}"
            )
            yield from ((name, tensor) for tensor in (attribute.t, *attribute.tensors) if tensor.data_type)
            for inner in (attribute.g, *attribute.graphs):
                yield from tensors_of(inner)


def _all_tensors(graph: onnx.GraphProto | onnx.FunctionProto) -> Iterator[onnx.TensorProto]:
    """As `tensors_of`, and the parts of sparse ones."""
    yield from (tensor for _, tensor in tensors_of(graph))
    for sparse in _sparse_of(graph):
        yield from (sparse.values, sparse.indices)


def _sparse_of(graph: onnx.GraphProto | onnx.FunctionProto) -> Iterator[onnx.SparseTensorProto]:
    yield from getattr(graph, "sparse_initializer", ())
    for attribute in (attribute for node in graph.node for attribute in node.attribute):
        yield from [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else attribute.sparse_tensors
        for inner in (attribute.g, *attribute.graphs):
            yield from _sparse_of(inner)


def _tensor(data: mmap.mmap, begin: int, end: int, *, name: str) -> onnx.TensorProto:
    fields = list(_fields(data, begin, end))
    tensor = onnx.TensorProto()
    for number, tag, _, stop in fields:
        if number != RAW_DATA_FIELD:
            tensor.MergeFromString(data[tag:stop])
    raw = [(content, stop - content) for number, _, content, stop in fields if number == RAW_DATA_FIELD]
    is_whole = len(raw) == 1 and raw[0][1] == _size_bytes(tensor) and not uses_external_data(tensor)
    if not is_whole or raw[0][1] <= LARGE_BYTES:
        tensor.ParseFromString(data[begin:end])
        return tensor
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", name), ("offset", raw[0][0]), ("length", raw[0][1])):
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def _size_bytes(tensor: onnx.TensorProto) -> int | None:
    """Number of bytes by dims and dtype; None for dtypes that are unknown or have several elements in a byte."""
    try:
        num_bits = ir.DataType(tensor.data_type).bitwidth
    except (TypeError, ValueError):
        return None
    return None if num_bits % 8 else prod(tensor.dims) * num_bits // 8


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
        elif wire_type in _FIXED_BYTES:
            stop = content + _FIXED_BYTES[wire_type]
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
