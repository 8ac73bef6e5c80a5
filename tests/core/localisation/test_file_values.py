"""The values of a file are matched with the module's, and the node at which wrong ones begin is suspected."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from tasks.core.limits import MATCHING_LIMIT
from tasks.core.localisation.defects import describe, other_parameter
from tasks.core.localisation.file_values import FileValues
from tasks.core.localisation.onnx_graph import OnnxGraph
from tests.core.proof.proving import Exported, exported, weight


class TwoLayers(nn.Module):
    """A layer, its activation, another layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(8, 16), nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """From x [batch, 8]."""
        return self.last(torch.relu(self.first(x)))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A true file: Gemm, Relu, Gemm."""
    return exported(TwoLayers(), ("x=float32[batch,8]",), tmp_path_factory.mktemp("file"), exporter="torchscript")


def _values(file: Exported, folder: Path, mutate: Callable[[onnx.ModelProto], None] | None = None) -> FileValues:
    proto = onnx.load(file.graph.path)
    if mutate is not None:
        mutate(proto)
    onnx.save(proto, folder / "changed.onnx")
    probe = file.inputs.probes[0]
    return FileValues(
        OnnxGraph(folder / "changed.onnx"), file.reference.traced(probe), file.inputs.arrays(probe),
        order=(0,), limit=MATCHING_LIMIT,
    )  # fmt: skip


SCALED = weight("first.weight", lambda values: values * np.float32(1.01))


def test_every_value_of_a_true_file_is_right(file: Exported, tmp_path: Path) -> None:
    """So no node is suspected."""
    values = _values(file, tmp_path)
    assert values.right >= {"x", *(name for node in values.graph.nodes for name in node.output)}
    assert [*values.suspects()] == [*values.own_errors()] == []
    assert values.is_only_producer(0)


def test_the_first_node_with_a_wrong_output_is_suspected(file: Exported, tmp_path: Path) -> None:
    """Scaled weights: what comes after it is wrong because of it, and is not suspected."""
    values = _values(file, tmp_path, SCALED)
    assert [*values.suspects()] == [*values.own_errors()] == [0]
    assert values.wrong_output(0) == values.graph.nodes[0].output[0]
    assert values.right == {"x"}
    assert not values.has_right_consumer(0, index=-1)


def test_a_wrong_node_is_described(file: Exported, tmp_path: Path) -> None:
    """Its weights, its module, its line in forward, and by how much it is off."""
    values, network = _values(file, tmp_path, SCALED), file.reference.network
    assert other_parameter(network, values.graph, 0) == "first.weight"
    assert other_parameter(network, values.graph, 2) == ""
    (number,) = (n for call in values.traced.trace.calls if call.name == "aten.relu.default" for n in call.inputs)
    blame = describe(network, values, 0, kind="node", number=number).blame
    assert (blame.kind, blame.parameter, blame.module_path) == ("weights", "first.weight", "first")
    assert blame.source.startswith("test_file_values.py:")
    assert blame.own_ratio > MATCHING_LIMIT
    assert blame.sentence.startswith(f"{blame.node} (Gemm) holds other values of first.weight than the module, off by")


def test_an_output_that_is_a_lone_number_is_matched_by_its_place(file: Exported, tmp_path: Path) -> None:
    """Many values could be equal to it; the order of the outputs tells which it should be."""
    values = _values(file, tmp_path)
    assert values.outputs == [(values.graph.outputs[0], values.traced.trace.outputs[0])]
