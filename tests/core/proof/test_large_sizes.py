"""A file that is wrong at large sizes only fails, and says at which."""

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from torch import nn

from tests.core.proof.proving import IMAGE, Exported, Mutation, exported
from tests.models.tiny_models import Classifier


class Mixer(nn.Module):
    """Mixes the places of a sequence of any length."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Attend to all places."""
        return torch.softmax(x @ x.transpose(1, 2), -1) @ self.linear(x)


def wrong_from(size: int, axis: int) -> Mutation:
    """Double the output where an input is at least as long along an axis."""

    def mutate(proto: onnx.ModelProto) -> None:
        graph, name = proto.graph, proto.graph.output[0].name
        for node in graph.node:
            node.output[:] = ["right" if output == name else output for output in node.output]
        arrays = {"axis": np.array([axis]), "size": np.array([size]), "one": np.float32(1), "two": np.float32(2)}
        graph.initializer.extend(numpy_helper.from_array(array, key) for key, array in arrays.items())
        graph.node.extend(
            [
                helper.make_node("Shape", [graph.input[0].name], ["shape"]),
                helper.make_node("Gather", ["shape", "axis"], ["length"]),
                helper.make_node("GreaterOrEqual", ["length", "size"], ["is_large"]),
                helper.make_node("Where", ["is_large", "two", "one"], ["factor"]),
                helper.make_node("Mul", ["right", "factor"], [name]),
            ]
        )

    return mutate


@pytest.fixture(scope="module")
def mixer(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A true file with a dynamic batch and length."""
    return exported(Mixer(), ("x=float32[batch,length=12,4]",), tmp_path_factory.mktemp("mixer"), exporter="dynamo")


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A true file whose rows are answered apart."""
    return exported(Classifier(), IMAGE, tmp_path_factory.mktemp("classifier"), exporter="torchscript")


def test_true_files_pass_at_large_sizes(mixer: Exported, classifier: Exported) -> None:
    """The sizes stand in the evidence."""
    evidence = mixer.prove()
    assert evidence.verdict == "pass", evidence.reasons
    assert {dim.name: max(dim.sizes) for dim in evidence.dims} == {"batch": 33, "length": 97}
    evidence = classifier.prove()
    assert evidence.verdict == "pass", evidence.reasons
    assert max(evidence.dims[0].sizes) == 33
    assert evidence.skipped == ()


@pytest.mark.parametrize(("axis", "sizes"), [(0, "batch=33, length=12"), (1, "batch=1, length=97")])
def test_a_file_that_is_wrong_at_large_sizes_only_fails(axis: int, sizes: str, mixer: Exported) -> None:
    """From batch 17, from a length of more than four times the traced one."""
    evidence = mixer.prove(mutate=wrong_from((17, 50)[axis], axis))
    assert evidence.verdict == "fail"
    assert "(large;" in evidence.reasons[0]
    assert evidence.blame is not None
    assert "Mul" in evidence.blame.op_type
    assert sizes in [probe.sizes_in_words for probe in mixer.inputs.probes if probe.family == "large"]


def test_rows_that_are_repeated_in_a_large_batch_fail(classifier: Exported) -> None:
    """A file that computes the first sixteen rows, and gives them again."""

    def repeated(proto: onnx.ModelProto) -> None:
        graph, name = proto.graph, proto.graph.output[0].name
        for node in graph.node:
            node.output[:] = ["right" if output == name else output for output in node.output]
        arrays = {"zero": np.int64(0), "one": np.int64(1), "sixteen": np.int64(16), "first": np.int64(0)}
        graph.initializer.extend(numpy_helper.from_array(np.asarray(array), key) for key, array in arrays.items())
        graph.node.extend(
            [
                helper.make_node("Shape", ["right"], ["shape"]),
                helper.make_node("Gather", ["shape", "first"], ["batch"]),
                helper.make_node("Range", ["zero", "batch", "one"], ["places"]),
                helper.make_node("Mod", ["places", "sixteen"], ["again"]),
                helper.make_node("Gather", ["right", "again"], [name]),
            ]
        )

    assert classifier.prove(mutate=repeated).verdict == "fail"
