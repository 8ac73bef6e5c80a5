"""Traced graphs become smaller and stay valid, loops and branches included."""

import onnx
import onnx_ir as ir
import torch
from torch import nn

from tasks.core.export.exporters import run_exporter
from tasks.core.inputs.choice import choose_inputs
from tasks.core.spec.export_spec import ExportSpec
from tasks.core.spec.resolve import resolve


class TwoSplits(nn.Module):
    """Each split is traced as a loop with the same body."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The parts again, put together."""
        first, second = (torch.tensor_split(value, indices=(1,), dim=1) for value in (x, x.relu()))
        return torch.cat([*first, *second], dim=1)


def test_bodies_of_loops_compute_their_outputs_themselves() -> None:
    """Two loops that are alike outside are simplified without one body giving a value of the graph around it."""
    model = TwoSplits().eval()
    inputs = choose_inputs(resolve(ExportSpec(model=model, inputs=("x=float32[batch,5,8]",))), model)
    graph = run_exporter("torchscript", model, inputs, output_names=("parts",), opset=20).graph
    onnx.checker.check_model(ir.to_proto(graph), full_check=True)
    bodies = [node.attributes["body"].as_graph() for node in graph.graph if node.op_type == "Loop"]
    assert len(bodies) == 2
    assert all(value.producer() in list(body) for body in bodies for value in body.outputs)
