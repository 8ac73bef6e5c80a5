"""PyTorch's exporter by torch.export, which keeps module paths and knows which sizes a graph is right for."""

from typing import Any

import torch
from torch import nn

from tasks.core.errors import ExportError
from tasks.core.export.exported import Exported, NarrowedError
from tasks.core.inputs.choice import Inputs
from tasks.core.spec.input_spec import Dim

_UNBOUNDED = 1_000_000_000
"""Least upper limit at which a dimension counts as unbounded."""


def export_with_dynamo(model: nn.Module, inputs: Inputs, *, output_names: tuple[str, ...], opset: int) -> Exported:
    """Export by torch.export, and hold the sizes that it allows against those that were asked for.

    Args:
        model: the module, in eval mode; its forward takes and returns tensors only.
        inputs: to trace with, with their dynamic dims.
        output_names: labels of what forward returns, by position.
        opset: of the graph.

    Raises:
        ExportError: a dynamic dim came out fixed, or narrower than asked (NarrowedError).
    """
    args, kwargs = inputs.traced_arguments()
    dims: dict[str, Any] = {}
    shapes = [
        {axis: dims.setdefault(d.name, _export_dim(d)) for axis, d in enumerate(spec.dims) if d.name}
        for spec in inputs.specs
    ]
    dynamic_shapes: Any = dict(zip(kwargs, shapes, strict=True)) if kwargs else tuple(shapes)
    if inputs.from_tensors is not None:
        dynamic_shapes = (dynamic_shapes,)  # forward takes *tensors
    program = torch.onnx.export(
        model,
        args,
        kwargs=kwargs,
        dynamo=True,
        opset_version=opset,
        input_names=list(inputs.names),
        output_names=list(output_names),
        dynamic_shapes=dynamic_shapes if any(shapes) else None,
        verbose=False,
    )
    if program is None or program.exported_program is None:
        raise ExportError("dynamo gave no program")
    return Exported(program.model, _equal_dims(program.exported_program, inputs))


def _export_dim(dim: Dim) -> Any:
    return torch.export.Dim(str(dim.name), min=dim.low if dim.low > 1 else None, max=dim.high)


def _equal_dims(program: torch.export.ExportedProgram, inputs: Inputs) -> tuple[str, ...]:
    """Notes on dims that must be equal; a fixed dim, or one of fewer sizes than asked, raises an ExportError."""
    # torch.export narrows ranges of sizes, and says so in its program only
    values = {node.name: node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"}
    names_of: dict[Any, set[str]] = {}
    user_inputs = [name for name in program.graph_signature.user_inputs if isinstance(name, str)]
    for spec, name in zip(inputs.specs, user_inputs, strict=False):
        for dim, size in zip(spec.dims, getattr(values[name], "shape", ()), strict=False):
            if dim.name is None:
                continue
            symbol = getattr(getattr(size, "node", None), "expr", None)
            if symbol is None:
                raise ExportError(f"dynamo froze {dim.name} of {spec.name} at {size}")
            names_of.setdefault(symbol, set()).add(dim.name)
            if (limits := program.range_constraints.get(symbol)) is not None:
                _check_limits(limits, dim, spec.name)
    return tuple(f"{' and '.join(sorted(names))} must be equal" for names in names_of.values() if len(names) > 1)


def _check_limits(limits: Any, dim: Dim, input_name: str) -> None:
    """Raise an error if torch.export's limits are narrower than asked; it always says that a size is at least 2."""
    beyond = [int(limits.lower) - 1] if limits.lower > max(dim.low, 2) else []
    if limits.upper < (dim.high or _UNBOUNDED):
        beyond.append(int(limits.upper) + 1)
    if beyond:
        said = f"dynamo narrowed {dim.name} of {input_name} to {limits.lower}..{limits.upper}"
        raise NarrowedError(said, str(dim.name), tuple(beyond))
