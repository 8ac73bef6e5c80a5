"""PyTorch's two ONNX exporters, each giving an `onnx_ir.Model` with the requested names and dims."""

import contextlib
import io
import logging
import re
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import onnx_ir as ir
import torch
from torch import nn

from tasks.core.errors import ExportError, one_line
from tasks.core.export.frozen_values import FrozenValues
from tasks.core.forward.fused_attention import without_fused_attention
from tasks.core.forward.outputs import flat_forward
from tasks.core.inputs.choice import Inputs
from tasks.core.onnx_files.simplification import SIMPLIFY
from tasks.core.spec.export_spec import ExportSpec
from tasks.core.spec.input_spec import Dim

Exporter = Literal["dynamo", "torchscript"]


class NarrowedError(ExportError):
    """torch.export found that a dynamic dimension may not have every size that was asked for."""

    def __init__(self, message: str, name: str, beyond: tuple[int, ...]) -> None:
        super().__init__(message)
        self.name = name
        self.beyond = beyond
        """The sizes next to the allowed ones, where another exporter's file must be right, too."""


@dataclass(frozen=True)
class Exported:
    """What an exporter gave."""

    graph: ir.Model
    notes: tuple[str, ...] = ()
    """For its reader."""
    doubts: tuple[str, ...] = ()
    """Why no probe can prove it."""


def exporter_order(spec: ExportSpec) -> tuple[tuple[Exporter, ...], str]:
    """The exporters to try, and why the first one is first; docs/decisions/exporter-order.md has the figures."""
    if spec.exporter != "auto":
        return (spec.exporter,), "asked for"
    if isinstance(spec.model, str) and ":" not in spec.model:
        return ("torchscript", "dynamo"), "torchvision models: same proof, 2 to 10 times faster"
    return ("dynamo", "torchscript"), "own code: keeps control flow that tracing would freeze"


def run_exporter(
    exporter: Exporter, model: nn.Module, inputs: Inputs, *, output_names: tuple[str, ...], opset: int
) -> Exported:
    """Export.

    Raises:
        ExportError: the exporter raised, or the graph lacks an input, a dynamic dim or the opset.
    """
    run = _dynamo if exporter == "dynamo" else _torchscript
    try:
        with _quiet(), without_fused_attention(), torch.no_grad(), flat_forward(model, inputs.from_tensors):
            exported = run(model, inputs, output_names, opset)
    except ExportError:
        raise
    except Exception as error:  # exporters raise whatever the model's code or the converter raises
        raise ExportError(f"{exporter} failed with {type(error).__name__}: {_cause(error)}") from error
    _check_names(exported.graph, inputs, output_names, exporter)
    _check_dims(exported.graph, inputs, exporter)
    obtained = exported.graph.opset_imports.get("", 0)
    if obtained != opset:
        raise ExportError(f"{exporter} gave opset {obtained} where {opset} was asked for")
    return exported


def _dynamo(model: nn.Module, inputs: Inputs, output_names: tuple[str, ...], opset: int) -> Exported:
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
    if program is None:
        raise ExportError("dynamo gave no program")
    exported = program.exported_program
    return Exported(program.model, _check_constraints(exported, inputs) if exported is not None else ())


def _torchscript(model: nn.Module, inputs: Inputs, output_names: tuple[str, ...], opset: int) -> Exported:
    """Trace without the weights and add them afterwards, straight from the module.

    Otherwise the exporter holds them three times in memory, and folds parameters until none is left
    under its own name.
    """
    args, kwargs = inputs.traced_arguments()
    with tempfile.TemporaryDirectory(prefix="assay-") as folder, FrozenValues(len(inputs.names)).watched() as frozen:
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
    notes = {place: f"tracing froze a Python value at {place}" for place in frozen.places}
    doubts = [
        f"the model branches on values and {notes[place]}, of which no probe shows every side"
        for place, is_decided in frozen.places.items()
        if is_decided
    ]
    return Exported(graph, tuple(notes.values()), tuple(doubts))


def _add_weights(graph: ir.Model, model: nn.Module, inputs: Inputs) -> None:
    """Turn the graph inputs that are named as a tensor of the module into initializers, without a copy."""
    state = model.state_dict(keep_vars=True)
    for value in list(graph.graph.inputs):
        if value.name in inputs.names or value.name not in state:
            continue
        graph.graph.inputs.remove(value)
        value.const_value = ir.tensor_adapters.TorchTensor(state[value.name].detach(), name=value.name)
        graph.graph.register_initializer(value)


def _export_dim(dim: Dim) -> Any:
    return torch.export.Dim(str(dim.name), min=dim.low if dim.low > 1 else None, max=dim.high)


def _check_constraints(program: torch.export.ExportedProgram, inputs: Inputs) -> tuple[str, ...]:
    """Hold torch.export's range constraints against the request; note dims that must be equal.

    Raises:
        ExportError: a dimension came out narrower than asked, silently.
    """
    placeholders = {n.name: n for n in program.graph.nodes if n.op == "placeholder"}
    symbols: dict[Any, set[str]] = {}
    user_inputs = [name for name in program.graph_signature.user_inputs if isinstance(name, str)]
    for spec, name in zip(inputs.specs, user_inputs, strict=False):
        value = placeholders[name].meta.get("val")
        for axis, dim in enumerate(spec.dims):
            if dim.name is None or not isinstance(value, torch.Tensor):
                continue
            size = value.shape[axis]
            expression = getattr(getattr(size, "node", None), "expr", None)
            if expression is None:
                raise ExportError(f"dynamo froze {dim.name} of {spec.name} at {size}")
            limits = program.range_constraints.get(expression)
            symbols.setdefault(expression, set()).add(dim.name)
            low_wrong = limits is not None and limits.lower > max(dim.low, 2)
            high_wrong = limits is not None and limits.upper < (dim.high or 1_000_000_000)
            if low_wrong or high_wrong:
                beyond = [int(limits.lower) - 1] if low_wrong else []
                beyond += [int(limits.upper) + 1] if high_wrong else []
                said = f"dynamo narrowed {dim.name} of {spec.name} to {limits.lower}..{limits.upper}"
                raise NarrowedError(said, dim.name, tuple(beyond))
    return tuple(f"{' and '.join(sorted(names))} must be equal" for names in symbols.values() if len(names) > 1)


def _check_names(graph: ir.Model, inputs: Inputs, output_names: tuple[str, ...], exporter: str) -> None:
    found = tuple(str(value.name) for value in graph.graph.inputs)
    if found != inputs.names:
        lost = [name for name in inputs.names if name not in found]
        what = f"dropped {', '.join(lost)}, which the graph does not use" if lost else f"named them {', '.join(found)}"
        raise ExportError(f"{exporter} was to have the inputs {', '.join(inputs.names)} but {what}")
    outputs = tuple(str(value.name) for value in graph.graph.outputs)
    if outputs != output_names:
        raise ExportError(f"{exporter} has the outputs {', '.join(outputs)}, not {', '.join(output_names)}")


def _check_dims(graph: ir.Model, inputs: Inputs, exporter: str) -> None:
    for spec, value in zip(inputs.specs, graph.graph.inputs, strict=True):
        for axis, dim in enumerate(spec.dims):
            found = value.shape[axis] if value.shape is not None else None
            if dim.name and isinstance(found, int):
                raise ExportError(f"{exporter} froze {dim.name} of {spec.name} at {found}")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporters' deprecation, tracer and progress messages: the proof judges, not they."""
    nowhere = io.StringIO()
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "torch.export", "torch")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings(), contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _cause(error: BaseException) -> str:
    """The first sentence of the innermost cause: exporters wrap it in pages of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip() or type(error).__name__
    return one_line(text.splitlines()[0])
