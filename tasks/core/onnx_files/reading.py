"""Describe an ONNX file, or a graph, as records and as text."""

import ast
import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import onnx_ir as ir

from tasks.core.errors import SpecError, one_line
from tasks.core.hashes import file_sha256
from tasks.core.onnx_files.lazy_reading import read_without_weights, sidecars
from tasks.core.records.steps import Graph, TensorType

SCOPES = "pkg.torch.onnx.name_scopes"
"""Key of a node's metadata: paths of the modules around the call that it comes from, as a Python list."""
SOURCE = "assay.source"
"""Key of a node's metadata: `package/file.py:LINE` of the model's code."""
_SHORT_ATTRIBUTES = {ir.AttributeType[name] for name in ("INT", "FLOAT", "STRING", "INTS", "FLOATS")}


def read_graph(path: Path) -> Graph:
    """Describe a file by its own header; a SpecError if it is no ONNX file, or a sidecar is missing, cut or a link."""
    try:
        model = ir.from_proto(read_without_weights(path))
        needed = {path.parent / name: num_bytes for name, num_bytes in sidecars(path).items()}
    except FileNotFoundError as error:
        raise SpecError(f"There is no file {path}; name an .onnx file.") from error
    except OSError as error:
        raise SpecError(f"{path} can't be read ({error.strerror}); check the path and its permissions.") from error
    except Exception as error:  # protobuf and onnx_ir raise what they like
        raise SpecError(f"{path.name} can't be read as ONNX ({one_line(error)}); export or fetch it again.") from error
    folder = path.resolve().parent
    for sidecar, num_bytes in needed.items():
        if not sidecar.resolve().is_relative_to(folder):
            raise SpecError(
                f"{path.name} keeps weights in {sidecar}, outside its own folder, and may not read there; save it anew "
                f"with its weights beside it."
            )
        if link := next((part for part in (sidecar, path) if part.is_symlink()), None):
            raise SpecError(f"{link.name} is a symbolic link, and onnx refuses those beside weights; copy both: cp -L.")
        if not sidecar.is_file():
            raise SpecError(f"{path.name} keeps weights in {sidecar.name}, which is not there; put it beside the file.")
        if sidecar.stat().st_size < num_bytes:
            raise SpecError(
                f"{path.name} needs {num_bytes:,} bytes of weights in {sidecar.name}, which has "
                f"{sidecar.stat().st_size:,}; fetch or save both files again."
            )
    if not model.graph.outputs:
        raise SpecError(f"{path.name} is no ONNX file: it has no output.")
    weights = model.graph.initializers
    maker = f"{model.producer_name or 'an unnamed producer'} {model.producer_version or ''}".strip()
    return Graph(
        path=path,
        sha256=file_sha256(path),
        size_bytes=sum(part.stat().st_size for part in (path, *needed) if part.exists()),
        inputs=tensor_types(value for value in model.graph.inputs if value.name not in weights),
        outputs=tensor_types(model.graph.outputs),
        opset=model.opset_imports.get("", 0),
        num_nodes=model.graph.num_nodes(),
        exporter="other",
        exporter_reason=f"the file was made by {maker}",
    )


@contextlib.contextmanager
def unmodified(path: Path) -> Iterator[None]:
    """Within this context a file and its sidecars must stay as they are; a SpecError if they did not."""
    before = _state_of(path)
    yield
    if _state_of(path) != before:
        raise SpecError(f"{path.name} was changed while it was proven; run this again when it is finished.")


def _state_of(path: Path) -> list[tuple[int, ...]]:
    """Inode, size in bytes and time of change of a file and its sidecars; empty if it can't be read."""
    try:
        stats = [part.stat() for part in (path, *(path.parent / name for name in sidecars(path)))]
    except Exception:  # it is gone, or no ONNX file any more, which protobuf says as it likes
        return []
    return [(stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in stats]


def tensor_types(values: Iterable[ir.Value]) -> tuple[TensorType, ...]:
    """Name, numpy dtype and dims of graph inputs or outputs."""
    return tuple(
        TensorType(
            name=str(value.name),
            dtype="unknown" if value.dtype in (None, ir.DataType.UNDEFINED) else str(value.dtype.numpy()),
            dims=tuple(dim if isinstance(dim, int) else str(dim.value or "?") for dim in value.shape or ()),
        )
        for value in values
    )


def inputs_of(node: Any) -> Iterator[str]:
    """Names of a node's inputs, with those that graphs inside it take from outside."""
    yield from (name for name in node.input if name)
    for graph in graphs_of(node):
        own = {value.name for value in (*graph.input, *graph.initializer)}
        own.update(name for inner in graph.node for name in inner.output)
        for name in (*(n for inner in graph.node for n in inputs_of(inner)), *(v.name for v in graph.output)):
            if name and name not in own:
                yield name


def graphs_of(node: Any) -> Iterator[Any]:
    """The graphs inside a node: sides of a branch, the body of a loop."""
    for attribute in node.attribute:
        yield from [attribute.g] if attribute.HasField("g") else attribute.graphs


def readable(model: ir.Model) -> str:
    """Format the graph as text, one node a line."""
    lines = [f"inputs   {', '.join(map(str, tensor_types(model.graph.inputs)))}"]
    for node in model.graph:
        names = ", ".join(str(v.name) if v is not None else "-" for v in node.inputs)
        attributes = ", ".join(f"{a.name}={a.value}" for a in node.attributes.values() if a.type in _SHORT_ATTRIBUTES)
        outputs = ", ".join(f"{v.name}{_dims(v)}" for v in node.outputs)
        scopes = [scope for scope in ast.literal_eval(node.metadata_props.get(SCOPES, "[]")) if scope]
        comment = f"   # {scopes[-2]}" if len(scopes) > 1 else ""
        lines.append(f"  {outputs} = {node.op_type}({names})" + (f" {{{attributes}}}" if attributes else "") + comment)
    lines.append(f"outputs  {', '.join(map(str, tensor_types(model.graph.outputs)))}")
    return "\n".join(lines)


def _dims(value: ir.Value) -> str:
    return "" if value.shape is None else f"[{', '.join(str(getattr(d, 'value', d)) for d in value.shape)}]"
