"""What the nodes of a file compute on samples."""

from collections.abc import Sequence

import numpy as np
import onnx

from tasks.core.arrays import Array
from tasks.core.errors import ExportError
from tasks.core.onnx_files.reading import inputs_of
from tasks.core.runtime import sessions
from tasks.core.variants.data import Batch


def largest_values(model: onnx.ModelProto, batches: Sequence[Batch]) -> dict[str, float]:
    """The largest absolute value of each float tensor between nodes, by name; NaN counts as infinite.

    Args:
        model: the proven file.
        batches: of samples.
    """
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    known = {value.name for value in watched.graph.output}
    inner = [name for node in watched.graph.node for name in node.output if name and name not in known]
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in inner)
    names = [value.name for value in watched.graph.output]
    largest: dict[str, float] = {}
    try:
        for batch in batches:  # one at a time: all values of a large batch at once are many
            (found,) = sessions.answers(watched.SerializeToString(), [batch.arrays], level="off")
            for name, array in zip(names, found, strict=True):
                if array.dtype.kind == "f" and array.size:
                    largest[name] = max(largest.get(name, 0.0), _largest(array))
    except sessions.SessionError as error:
        raise ExportError(f"The values between the nodes can't be watched: {error}") from error
    return largest


def sections(model: onnx.ModelProto, names: Sequence[str]) -> dict[str, list[str]]:
    """The named nodes, each with the unnamed ones after it, up to the next named one.

    Args:
        model: the proven file.
        names: of nodes; what two of them lead to belongs to the later one.
    """
    numbers = {name: number for number, name in enumerate(names)}
    found: dict[str, list[str]] = {name: [name] for name in names}
    owners: dict[str, int] = {}
    for node in model.graph.node:
        number = numbers.get(node.name)
        if number is None:
            number = max((owners[value] for value in inputs_of(node) if value in owners), default=None)
            if number is None:
                continue
            found[names[number]].append(node.name)
        owners.update(dict.fromkeys(node.output, number))
    return found


def float_values(model: onnx.ModelProto) -> set[str]:
    """Names of the float32 tensors that are given or computed, as shape inference has them."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    known = (*graph.input, *graph.value_info, *graph.output)
    return {value.name for value in known if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}


def _largest(array: Array) -> float:
    value = float(np.abs(array.astype(np.float64)).max())
    return value if np.isfinite(value) else float("inf")
