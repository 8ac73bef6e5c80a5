"""Clean a graph of what is private or accidental, and write it as deterministic bytes, weights streamed."""

import ast
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import onnx
import onnx_ir as ir

from tasks.core.records import TensorType
from tasks.core.skeletons import GRAPH_FIELD, INITIALIZER_FIELD, RAW_DATA_FIELD, SIDECAR_KEY

MAX_FILE_BYTES = 2**31 - 1
"""Protobuf's limit for one message."""
STREAMED_BYTES = 1024
"""Larger initializers are written piece by piece, so that the file never exists in memory."""
SCOPES = "pkg.torch.onnx.name_scopes"
_TRACE_FRAME = re.compile(r'File "([^"]+)", line (\d+)')


def clean(model: ir.Model) -> None:
    """Drop what the exporter wrote about the builder's file system; keep each node's module path.

    Of the stack trace stays the innermost line of the model's own code, as `package/file.py:LINE`.
    """
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    for value in (*model.graph.inputs, *model.graph.outputs, *model.graph.initializers.values()):
        value.metadata_props.clear()
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        trace = node.metadata_props.get("pkg.torch.onnx.stack_trace", "")
        scopes = node.metadata_props.get(SCOPES)
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()
        if scopes:
            node.metadata_props[SCOPES] = scopes
        if source := _source_line(trace):
            node.metadata_props["assay.source"] = source
    for function in model.functions.values():
        function.metadata_props.clear()
        for node in function:
            node.metadata_props.clear()


def label_parameters(model: ir.Model, labels: Iterable[str], parameters: Iterable[str]) -> dict[str, str]:
    """Rename initializers: the i-th label for the i-th parameter; return label to parameter of those found."""
    found: dict[str, str] = {}
    initializers = model.graph.initializers
    for label, parameter in zip(labels, parameters, strict=False):
        value = initializers.get(parameter)
        if value is not None:
            initializers.pop(parameter)
            value.name = label
            initializers[label] = value
            found[label] = parameter
    return found


def name_output_dims(model: ir.Model, observed: list[tuple[Mapping[str, int], list[tuple[int, ...]]]]) -> None:
    """Give dynamic output dims the name of the input dim that they follow, else OUTPUT_AXIS.

    Args:
        model: its graph is changed in place.
        observed: sizes of the dynamic input dims, and the shapes of the outputs at them.
    """
    for index, output in enumerate(model.graph.outputs):
        if output.shape is None:
            continue
        dims: list[int | str] = []
        for axis, dim in enumerate(output.shape):
            seen = [(sizes, shapes[index][axis]) for sizes, shapes in observed if axis < len(shapes[index])]
            follows = [name for name in observed[0][0] if all(sizes[name] == size for sizes, size in seen)]
            varies = len({size for _, size in seen}) > 1
            dims.append(dim if isinstance(dim, int) else follows[0] if follows and varies else f"{output.name}_{axis}")
        output.shape = ir.Shape(dims)


def write(model: ir.Model, path: Path) -> tuple[str, Path | None]:
    """Write the model; return the file's SHA-256 and the sidecar, if the weights exceed 2 GB.

    A sidecar is called by its content, as its name stands in the file: two files in one folder whose weights
    differ need two, and a file replaced by another keeps its own. Its SHA-256 goes into the file's metadata.
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


def tensor_types(values: Iterable[ir.Value]) -> tuple[TensorType, ...]:
    """Name, numpy dtype and dims of graph inputs or outputs."""
    types = []
    for value in values:
        dims = (
            () if value.shape is None else tuple(d if isinstance(d, int) else str(d.value or "?") for d in value.shape)
        )
        types.append(TensorType(name=str(value.name), dtype=_dtype_name(value), dims=dims))
    return tuple(types)


def readable(model: ir.Model) -> str:
    """The graph as text, one node a line, weights by shape."""
    lines = [f"inputs   {', '.join(map(str, tensor_types(model.graph.inputs)))}"]
    for node in model.graph:
        names = ", ".join(str(v.name) if v is not None else "-" for v in node.inputs)
        attributes = ", ".join(f"{a.name}={a.value}" for a in node.attributes.values() if a.type in _SHORT_ATTRIBUTES)
        scope = _scope(node)
        outputs = ", ".join(f"{v.name}{_dims(v)}" for v in node.outputs)
        lines.append(f"  {outputs} = {node.op_type}({names})" + (f" {{{attributes}}}" if attributes else "") + scope)
    lines.append(f"outputs  {', '.join(map(str, tensor_types(model.graph.outputs)))}")
    return "\n".join(lines)


_SHORT_ATTRIBUTES = {
    ir.AttributeType.INT,
    ir.AttributeType.FLOAT,
    ir.AttributeType.STRING,
    ir.AttributeType.INTS,
    ir.AttributeType.FLOATS,
}


def _dims(value: ir.Value) -> str:
    return "" if value.shape is None else f"[{', '.join(str(getattr(d, 'value', d)) for d in value.shape)}]"


def _scope(node: ir.Node) -> str:
    text = node.metadata_props.get(SCOPES)
    scopes = [s for s in ast.literal_eval(text) if s] if text else []
    return f"   # {scopes[-2]}" if len(scopes) > 1 else ""


def _dtype_name(value: ir.Value) -> str:
    return "unknown" if value.dtype is None else str(value.dtype.numpy())


def _source_line(trace: str) -> str:
    """The innermost frame outside PyTorch, its file relative to its package."""
    frames = [(file, line) for file, line in _TRACE_FRAME.findall(trace) if "/torch/" not in file]
    if not frames:
        return ""
    file, line = frames[-1]
    _, installed, inside = file.rpartition("site-packages/")
    return f"{inside if installed else Path(file).name}:{line}"


def _inline(weights: Mapping[str, ir.Value]) -> list[tuple[bytes, ir.TensorProtocol | None]]:
    """Each initializer's message without its values, and the tensor whose bytes complete it."""
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
    """Place the tensors one after another, each at a page of 4,096 bytes so that it can be mapped."""
    offset = 0
    for name, value in weights.items():
        assert value.const_value is not None
        yield name, value.const_value, offset
        offset += -(-value.const_value.nbytes // 4096) * 4096


def _write_sidecar(weights: Mapping[str, ir.Value], folder: Path) -> tuple[Path, str]:
    """Write a file named by its SHA-256; return both."""
    part = folder / "weights.part"
    with part.open("wb") as file:
        out = _HashedFile(file)
        for _, tensor, offset in _offsets(weights):
            out.write(b"\0" * (offset - out.size))
            out.write(_raw(tensor))
    sha256 = out.digest.hexdigest()
    return part.replace(folder / f"weights-{sha256[:16]}.data"), sha256


def _write_message(path: Path, header: onnx.ModelProto, tensors: list[tuple[bytes, ir.TensorProtocol | None]]) -> str:
    """Write a ModelProto whose graph is the header's with `tensors` added, without building it in memory."""
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
    """A file that knows the SHA-256 and the size in bytes of what was written to it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes | memoryview) -> None:
        self._file.write(data)
        self.digest.update(data)
        self.size += len(data)
