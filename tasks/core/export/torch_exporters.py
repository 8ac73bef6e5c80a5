"""PyTorch's two exporters to ONNX, and what each is known to get wrong without saying so."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx_ir as ir
import torch
from torch import nn

from tasks.core.errors import ExportError, NarrowedError
from tasks.core.export.frozen_values import FrozenValues
from tasks.core.inputs.choice import Inputs
from tasks.core.onnx_files.cleaning import SIMPLIFY
from tasks.core.spec.input_spec import Dim

_UNBOUNDED = 1_000_000_000
"""Least upper limit at which a dimension counts as unbounded."""


@dataclass(frozen=True)
class Exported:
    """The graph that an exporter made."""

    graph: ir.Model
    notes: tuple[str, ...] = ()
    """What a reader of the result should know."""
    doubts: tuple[str, ...] = ()
    """Reasons for which no probe can prove the graph."""


def _export_with_dynamo(model: nn.Module, inputs: Inputs, *, output_names: tuple[str, ...], opset: int) -> Exported:
    """Export by torch.export, which keeps module paths, and hold the sizes that it allows against those asked for."""
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


def _export_with_torchscript(
    model: nn.Module, inputs: Inputs, *, output_names: tuple[str, ...], opset: int
) -> Exported:
    """Trace, which is fast and freezes every Python value that it meets; the weights are added afterwards.

    Otherwise the exporter holds them three times in memory, and folds parameters until none is left
    under its own name.
    """
    args, kwargs = inputs.traced_arguments()
    frozen = FrozenValues(len(inputs.names))
    with tempfile.TemporaryDirectory(prefix="assay-") as folder, frozen.watched():
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            model,
            args,
            str(path),
            kwargs=kwargs,
            dynamo=False,
            export_params=False,
            do_constant_folding=False,
            training=torch.onnx.TrainingMode.PRESERVE,
            opset_version=opset,
            input_names=list(inputs.names),
            output_names=list(output_names),
            dynamic_axes={s.name: {axis: d.name for axis, d in enumerate(s.dims) if d.name} for s in inputs.specs},
        )
        graph = ir.load(path)
    _add_weights(graph, model, inputs)
    SIMPLIFY(graph)
    notes = {line: f"tracing froze a Python value at {line}" for line in frozen.lines}
    doubts = [
        f"the model branches on values and {notes[line]}, of which no probe shows every side"
        for line, is_decided in frozen.lines.items()
        if is_decided
    ]
    return Exported(graph, tuple(notes.values()), tuple(doubts))


EXPORTERS = {"dynamo": _export_with_dynamo, "torchscript": _export_with_torchscript}
"""Each takes a module in eval mode whose forward takes and returns tensors only, inputs to trace with, labels of what
forward returns, by position, and the opset; it raises an ExportError where a size came out narrower than asked."""


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


def _add_weights(graph: ir.Model, model: nn.Module, inputs: Inputs) -> None:
    """Turn the graph inputs that are named as a tensor of the module into initializers, without a copy."""
    state = model.state_dict(keep_vars=True)
    for value in list(graph.graph.inputs):
        if value.name in inputs.names or value.name not in state:
            continue
        graph.graph.inputs.remove(value)
        value.const_value = ir.tensor_adapters.TorchTensor(state[value.name].detach(), name=value.name)
        graph.graph.register_initializer(value)
