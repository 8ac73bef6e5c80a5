"""PyTorch's exporter by torch.jit.trace, which is fast and freezes every Python value that it meets."""

import tempfile
from pathlib import Path

import onnx_ir as ir
import torch
from torch import nn

from tasks.core.export.exported import Exported
from tasks.core.export.frozen_values import FrozenValues
from tasks.core.inputs.choice import Inputs
from tasks.core.onnx_files.cleaning import SIMPLIFY


def export_with_torchscript(model: nn.Module, inputs: Inputs, *, output_names: tuple[str, ...], opset: int) -> Exported:
    """Trace without the weights and add them afterwards, straight from the module.

    Otherwise the exporter holds them three times in memory, and folds parameters until none is left
    under its own name.

    Args:
        model: the module, in eval mode; its forward takes and returns tensors only.
        inputs: to trace with, with their dynamic dims.
        output_names: labels of what forward returns, by position.
        opset: of the graph.
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


def _add_weights(graph: ir.Model, model: nn.Module, inputs: Inputs) -> None:
    """Turn the graph inputs that are named as a tensor of the module into initializers, without a copy."""
    state = model.state_dict(keep_vars=True)
    for value in list(graph.graph.inputs):
        if value.name in inputs.names or value.name not in state:
            continue
        graph.graph.inputs.remove(value)
        value.const_value = ir.tensor_adapters.TorchTensor(state[value.name].detach(), name=value.name)
        graph.graph.register_initializer(value)
