"""Files that somebody else made: traced, which takes a moment, and perhaps of another module than the one at hand."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from tasks.core.inputs.choice import choose_inputs
from tasks.core.onnx_files.reading import read_graph
from tasks.core.records.steps import Candidate
from tasks.core.reference.reference import Reference
from tasks.core.spec.export_spec import ExportSpec
from tasks.core.spec.resolve import resolve
from tests.core.proof.proving import Exported


def traced(
    model: nn.Module, inputs: tuple[str, ...], folder: Path, *, file_of: nn.Module | None = None, **fields: Any
) -> Exported:
    """Trace a module, or another in its place, into `model.onnx`, and choose inputs to hold it against the module.

    Args:
        model: what the file is held against.
        inputs: of both.
        folder: of the file.
        file_of: what is traced; None: the module itself.
        **fields: further ones of the spec.
    """
    chosen = choose_inputs(resolve(ExportSpec(model=model, name="tiny", inputs=inputs, **fields)), model.eval())
    reference = Reference(model, chosen)
    args = tuple(chosen.tensors(chosen.arrays(chosen.probes[0])))
    with torch.no_grad():
        torch.onnx.export(
            (file_of or model).eval(),
            args,
            str(folder / "model.onnx"),
            dynamo=False,
            opset_version=17,
            input_names=list(chosen.names),
            output_names=list(reference.output_names),
            dynamic_axes={
                spec.name: {axis: dim.name for axis, dim in enumerate(spec.dims) if dim.name} for spec in chosen.specs
            },
        )
    return Exported(Candidate(read_graph(folder / "model.onnx")), chosen, reference)
