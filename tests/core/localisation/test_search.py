"""A wrong file is blamed on the node that is wrong, with its module, its source line and what is wrong with it."""

import inspect
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from torch import nn

from tasks.core.limits import MATCHING_LIMIT
from tasks.core.localisation.file_values import FileValues
from tasks.core.localisation.onnx_graph import OnnxGraph
from tasks.core.localisation.search import localise
from tasks.core.records.evidence import Blame
from tests.core.proof.proving import IMAGE, Exported, Mutation, both, exported, swap, weight

CLOSE_BY = weight("block.0.weight", lambda values: values * np.float32(1.01))
"""Scales the first convolution of the block."""


class Branched(nn.Module):
    """A stem, a residual block, two heads of equal size."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8))
        self.block = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1))
        self.left, self.right = nn.Linear(512, 6), nn.Linear(512, 6)

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        """Score an 8 x 8 image twice."""
        first = torch.relu(self.stem(image))
        features = (first + self.block(first)).flatten(1)
        return {"left": self.left(features), "right": self.right(features)}


class Whispering(nn.Module):
    """A branch that hardly reaches the output."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.loud, self.quiet = nn.Linear(64, 64), nn.Linear(64, 64)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Add a millionth of one layer to the other."""
        return self.loud(features) + 1e-6 * self.quiet(features)


@pytest.fixture(scope="module", params=["torchscript", "dynamo"])
def either(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A true file by each exporter."""
    return exported(Branched(), IMAGE, tmp_path_factory.mktemp(request.param), exporter=request.param)


@pytest.fixture(scope="module")
def branched(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A true file whose nodes are one to one those of the module."""
    return exported(Branched(), IMAGE, tmp_path_factory.mktemp("branched"), exporter="torchscript")


def _blame(file: Exported, mutate: Mutation) -> Blame:
    evidence = file.prove(mutate=mutate)
    assert evidence.verdict == "fail"
    assert evidence.blame is not None
    return evidence.blame


def _node(file: Exported, op_type: str, place: int = 0) -> onnx.NodeProto:
    nodes = onnx.load(file.graph.path).graph.node
    return [node for node in nodes if node.op_type == op_type][place]


def _line_of(code: str) -> str:
    """`file.py:LINE` of a line of Branched."""
    lines, start = inspect.getsourcelines(Branched)
    return f"{Path(__file__).name}:{start + next(i for i, line in enumerate(lines) if code in line)}"


def _become(name: str, op_type: str, num_inputs: int = 1) -> Mutation:
    """Turn a node into another operator on its last inputs."""

    def mutate(proto: onnx.ModelProto) -> None:
        node = next(n for n in proto.graph.node if n.name == name)
        node.op_type = op_type
        del node.input[:-num_inputs], node.attribute[:]

    return mutate


def _feed(name: str, value: str) -> Mutation:
    """Give a node another value as its first input."""

    def mutate(proto: onnx.ModelProto) -> None:
        next(n for n in proto.graph.node if n.name == name).input[0] = value

    return mutate


def _without_names(proto: onnx.ModelProto) -> None:
    """Clear all that says where a node comes from."""
    renamed = {tensor.name: f"w{index}" for index, tensor in enumerate(proto.graph.initializer)}
    for tensor in proto.graph.initializer:
        tensor.name = renamed[tensor.name]
    for node in proto.graph.node:
        node.name, node.doc_string = "", ""
        del node.metadata_props[:]
        node.input[:] = [renamed.get(name, name) for name in node.input]


def test_a_scaled_weight_is_blamed_on_its_node(either: Exported) -> None:
    """Weights off by 1 % are found by their parameter, in either exporter's file."""
    blame = _blame(either, CLOSE_BY)
    assert (blame.kind, blame.op_type, blame.parameter) == ("weights", "Conv", "block.0.weight")
    assert (blame.module_path, blame.module_class) == ("block.0", "Conv2d")
    assert blame.node == next(n.name for n in onnx.load(either.graph.path).graph.node if "block.0.weight" in n.input)
    assert blame.own_ratio > MATCHING_LIMIT
    assert blame.found is not None
    assert blame.expected is not None
    assert blame.found.rms == pytest.approx(1.01 * blame.expected.rms, rel=0.01)
    assert "holds other values of block.0.weight than the module" in blame.sentence


def test_a_true_file_has_nothing_to_blame(either: Exported) -> None:
    """Every value of a true file is one of the module's, so no node is suspected."""
    probe = either.inputs.probes[0]
    for hidden in (False, True):
        found = localise(
            either.reference, either.graph, probes=[probe], feeds=either.inputs.arrays, output_order=(), hidden=hidden
        )
        assert found == (None, [])
    file = FileValues(
        OnnxGraph(either.graph.path), either.reference.traced(probe), either.inputs.arrays(probe),
        order=(0, 1), limit=MATCHING_LIMIT,
    )  # fmt: skip
    assert list(file.own_errors()) == []
    assert list(file.suspects()) == []


def test_a_lost_activation_is_blamed_itself(branched: Exported) -> None:
    """A Relu made Identity hands on a right value; it is blamed all the same, with its line in forward."""
    blame = _blame(branched, _become(_node(branched, "Relu").name, "Identity"))
    assert (blame.kind, blame.op_type, blame.node) == ("node", "Identity", _node(branched, "Relu").name)
    assert (blame.module_path, blame.source) == ("", _line_of("torch.relu("))
    assert _line_of("torch.relu(") in blame.sentence


def test_a_lost_activation_of_a_module_is_blamed_itself(branched: Exported) -> None:
    """The same of the block's own ReLU, whose path the blame names."""
    blame = _blame(branched, _become(_node(branched, "Relu", 1).name, "Identity"))
    assert (blame.kind, blame.op_type, blame.module_path) == ("node", "Identity", "block.1")
    assert blame.module_class == "ReLU"


def test_a_node_fed_from_the_wrong_place_is_wired_wrongly(branched: Exported) -> None:
    """A convolution that gets what went into the activation before it computes rightly, on the wrong value."""
    conv = next(n for n in onnx.load(branched.graph.path).graph.node if "block.2.weight" in n.input)
    blame = _blame(branched, _feed(conv.name, _node(branched, "Relu", 1).input[0]))
    assert (blame.kind, blame.node, blame.module_path) == ("wiring", conv.name, "block.2")
    assert "computes rightly, but is fed the wrong value" in blame.sentence


def test_swapped_outputs_are_blamed_as_outputs(branched: Exported) -> None:
    """Both values are right; that they stand in each other's place is what is said."""
    blame = _blame(branched, swap("left", "right"))
    assert (blame.kind, blame.op_type) == ("output", "Gemm")
    assert blame.module_path in ("left", "right")
    assert "gives a right value to the wrong output" in blame.sentence


@pytest.mark.parametrize("num_dropped", [0, 1], ids=["branch", "trunk"])
def test_a_dropped_residual_is_blamed_on_the_sum(num_dropped: int, branched: Exported) -> None:
    """A sum that is one of its parts gives a right value, but not the one that belongs there."""
    add = _node(branched, "Add")

    def mutate(proto: onnx.ModelProto) -> None:
        node = next(n for n in proto.graph.node if n.name == add.name)
        node.op_type = "Identity"
        del node.input[num_dropped]

    blame = _blame(branched, mutate)
    assert (blame.kind, blame.node, blame.op_type) == ("node", add.name, "Identity")
    assert blame.source == _line_of("first + self.block(first)")


def test_a_file_without_names_is_placed_by_its_values(branched: Exported) -> None:
    """Where the file says nothing of its origin, the module is the one that computes the value."""
    blame = _blame(branched, both(CLOSE_BY, _without_names))
    assert (blame.kind, blame.op_type, blame.module_path) == ("node", "Conv", "block.0")
    assert (
        blame.node
        == next(n for n in onnx.load(branched.graph.path).graph.node if "block.0.weight" in n.input).output[0]
    )


def test_a_node_that_the_runtime_refuses_is_blamed(branched: Exported) -> None:
    """A file that stops half-way is blamed on the node at which it stops, with what was said."""

    def mutate(proto: onnx.ModelProto) -> None:
        node = next(n for n in proto.graph.node if n.op_type == "Flatten")
        node.op_type = "Reshape"
        del node.attribute[:]
        proto.graph.initializer.append(helper.make_tensor("seven", onnx.TensorProto.INT64, [2], [7, -1]))
        node.input.append("seven")

    blame = _blame(branched, mutate)
    assert blame.op_type == "Reshape"
    assert "is refused by ONNX Runtime" in blame.sentence


def _dividing_by_minus_one(proto: onnx.ModelProto) -> None:
    """Add nothing to the output, by way of the one integer division that the processor can't do."""
    graph = proto.graph
    name = graph.output[0].name
    (giver,) = (node for node in graph.node if name in node.output)
    giver.output[list(giver.output).index(name)] = "before"
    for constant, values in (("low", [-(2**63)]), ("minus", [-1]), ("nothing", np.zeros(1, np.float32))):
        graph.initializer.append(numpy_helper.from_array(np.array(values), constant))
    graph.node.append(helper.make_node("Div", ["low", "minus"], ["high"], name="divided"))
    graph.node.append(helper.make_node("Cast", ["high"], ["float"], to=onnx.TensorProto.FLOAT))
    graph.node.append(helper.make_node("Mul", ["float", "nothing"], ["zero"]))
    graph.node.append(helper.make_node("Add", ["before", "zero"], [name]))


def test_a_node_that_crashes_the_runtime_is_blamed(branched: Exported) -> None:
    """The file kills the process that runs it, by a real signal, and is a file that fails."""
    evidence = branched.prove(mutate=_dividing_by_minus_one)
    assert evidence.verdict == "fail"
    assert evidence.reasons == ("ONNX Runtime refuses it: its process was killed by SIGFPE (signal 8)",)
    assert evidence.blame is not None
    assert (evidence.blame.node, evidence.blame.op_type) == ("divided", "Div")


def test_a_defect_that_hardly_reaches_the_outputs_fails(tmp_path: Path) -> None:
    """An output within the limits is no proof where a node on the way is wrong by itself."""
    file = exported(Whispering(), ("features=float32[batch,64]",), tmp_path, exporter="torchscript")
    assert file.prove().verdict == "pass"
    evidence = file.prove(mutate=weight("quiet.weight", lambda values: values * np.float32(1.3)))
    assert 1.5 < evidence.noise_ratio < 8
    assert evidence.verdict == "fail"
    assert evidence.reasons[0].endswith("little of it reaches the outputs on these probes")
    assert evidence.blame is not None
    assert (evidence.blame.kind, evidence.blame.module_path) == ("weights", "quiet")
