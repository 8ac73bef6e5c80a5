"""Run one of PyTorch's two ONNX exporters, and see that its graph has what was asked for."""

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Iterator

import onnx_ir as ir
import torch
from torch import nn

from tasks.core.errors import ExportError, NarrowedError, one_line
from tasks.core.export.torch_exporters import EXPORTERS, Exported
from tasks.core.families.family import Exporter
from tasks.core.families.registry import family_of
from tasks.core.forward.outputs import flat_forward
from tasks.core.forward.switches import same_way
from tasks.core.inputs.inputs import Inputs
from tasks.core.runtime.descriptors import silenced
from tasks.core.spec.export_spec import ResolvedSpec


def exporter_order(spec: ResolvedSpec) -> tuple[tuple[Exporter, ...], str]:
    """The exporters to try, and why the first one is first."""
    if spec.exporter != "auto":
        return (spec.exporter,), "asked for"
    return family_of(spec.model).exporter_order(spec.model)


def run_exporter(
    exporter: Exporter, model: nn.Module, inputs: Inputs, *, output_names: tuple[str, ...], opset: int
) -> Exported:
    """Export a module; an ExportError if that fails, or if the graph lacks an input, a dynamic dim or the opset.

    Args:
        exporter: which one.
        model: the module, in eval mode.
        inputs: of it.
        output_names: labels of what forward returns, in the order of `flatten`.
        opset: of the graph.
    """
    narrowed: NarrowedError | None = None
    try:
        with _quiet(), same_way(), torch.no_grad(), flat_forward(model, inputs.from_tensors):
            exported = EXPORTERS[exporter](model, inputs, output_names=output_names, opset=opset)
    except NarrowedError as error:
        narrowed, exported = error, error.exported
    except ExportError:
        raise
    except Exception as error:  # exporters raise whatever the model's code or the converter raises
        raise ExportError(f"{exporter} failed with {type(error).__name__}: {_cause(error)}") from error
    if difference := _difference(exported.graph, inputs, output_names=output_names, opset=opset):
        raise ExportError(f"{exporter} {difference}")
    if narrowed is not None:
        raise narrowed
    return exported


def _difference(graph: ir.Model, inputs: Inputs, *, output_names: tuple[str, ...], opset: int) -> str:
    """How the graph differs from what was asked for; empty where it does not."""
    found = tuple(str(value.name) for value in graph.graph.inputs)
    if found != inputs.names:
        lost = [name for name in inputs.names if name not in found]
        what = f"dropped {', '.join(lost)}, which the graph does not use" if lost else f"named them {', '.join(found)}"
        return f"was to have the inputs {', '.join(inputs.names)} but {what}"
    outputs = tuple(str(value.name) for value in graph.graph.outputs)
    if outputs != output_names:
        return f"has the outputs {', '.join(outputs)}, not {', '.join(output_names)}"
    for spec, value in zip(inputs.specs, graph.graph.inputs, strict=True):
        for dim, size in zip(spec.dims, value.shape or (), strict=False):
            if dim.name and isinstance(size, int):
                return f"froze {dim.name} of {spec.name} at {size}"
    obtained = graph.opset_imports.get("", 0)
    return "" if obtained == opset else f"gave opset {obtained} where {opset} was asked for"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporters' deprecation, tracer and progress messages: the proof judges, not they."""
    with contextlib.ExitStack() as stack, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stack.enter_context(silenced())
        stack.callback(torch._C._jit_set_onnx_log_enabled, torch._C._jit_is_onnx_log_enabled())
        torch._C._jit_set_onnx_log_enabled(False)  # pages of a graph that can't be converted
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
        for logger in map(logging.getLogger, ("torch.onnx", "onnxscript", "onnx_ir", "torch.export", "torch")):
            stack.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.CRITICAL)
        yield


def _cause(error: BaseException) -> str:
    """The first sentence of the innermost cause: exporters wrap it in pages of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip() or type(error).__name__
    return one_line(text.splitlines()[0])
