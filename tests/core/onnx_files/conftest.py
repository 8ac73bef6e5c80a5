"""A small graph that both exporters give."""

import onnx_ir as ir
import pytest

from tasks.core.export.exporters import run_exporter
from tasks.core.inputs.choice import choose_inputs
from tasks.core.spec.export_spec import ExportSpec
from tasks.core.spec.resolve import resolve
from tests.models.tiny_models import Classifier


@pytest.fixture(scope="module", params=["dynamo", "torchscript"])
def graph(request: pytest.FixtureRequest) -> ir.Model:
    """A freshly exported classifier."""
    model = Classifier().eval()
    inputs = choose_inputs(resolve(ExportSpec(model=model, inputs=("image=float32[batch,3,8,8]",))), model)
    return run_exporter(request.param, model, inputs, output_names=("scores",), opset=20).graph
