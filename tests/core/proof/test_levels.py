"""A file that ONNX Runtime's optimiser makes wrong is told from a wrong file, and the pass is named.

What the passes do wrong here are errors of onnxruntime 1.32.0.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from torch import nn

from tasks.core.hashes import file_sha256
from tasks.core.localisation.reproduction import write_reproduction
from tasks.core.proof.levels import wrong_passes
from tasks.core.proof.validation import Proof, validate
from tasks.core.records.steps import Candidate
from tests.core.proof.proving import Exported, Mutation, exported


class Peaks(nn.Module):
    """Divides by the root of the fourth power, which LayerNormFusion takes for a square."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.after = nn.Linear(6, 6), nn.Linear(6, 6)
        self.gain, self.shift = nn.Parameter(torch.rand(6) + 1), nn.Parameter(torch.rand(6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise between two layers."""
        x = self.before(x)
        difference = x - x.mean(-1, keepdim=True)
        even = difference / torch.sqrt(difference.pow(4).mean(-1, keepdim=True) + 1e-5)
        return self.after((even * self.gain + self.shift).relu())


class Norm(nn.Module):
    """Normalises over two axes what was added."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.head = nn.LayerNorm([3, 4]), nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add, normalise, project."""
        return self.head(self.norm(x + x.exp()))


def proven(file: Exported, mutate: Mutation) -> Proof:
    """The proof of a changed file."""
    proto = onnx.load(file.graph.path)
    mutate(proto)
    path = file.graph.path.with_name("mutated.onnx")
    onnx.save(proto, path)
    return validate(
        Candidate(file.graph.model_copy(update={"path": path, "sha256": file_sha256(path)})), file.reference
    )


@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
def test_a_pass_that_gives_other_numbers_is_named(exporter: str, tmp_path: Path) -> None:
    """The reason says which, at which level, and that the file is right without; a few nodes reproduce it."""
    file = exported(Peaks(), ("x=float32[batch,5,6]",), tmp_path, exporter=exporter)
    proof = validate(file.candidate, file.reference)
    blame, defect = proof.evidence.blame, proof.defect
    assert proof.evidence.verdict == "fail"
    assert blame is not None
    assert (blame.kind, blame.passes, blame.level) == ("optimiser", ("LayerNormFusionL1",), "basic")
    assert "at level basic: with the pass LayerNormFusionL1 disabled" in proof.evidence.reasons[0]
    assert defect is not None
    op_types = [defect.graph.nodes[index].op_type for index in defect.nodes]
    assert "Pow" in op_types
    assert "MatMul" not in op_types
    assert "Gemm" not in op_types
    write_reproduction(defect, tmp_path / "reproduction", file="model.onnx")
    command = [sys.executable, "-I", str(tmp_path / "reproduction" / "reproduce.py")]
    shown = subprocess.run(command, capture_output=True, text=True, check=False)
    assert shown.returncode == 1, shown.stderr
    assert float(shown.stdout.split()[-1]) > 0.1


def test_a_pass_of_a_later_level_is_named(tmp_path: Path) -> None:
    """SkipLayerNormFusion takes a gain along the last axis for one of a norm over the last axis only."""

    def shortened(proto: onnx.ModelProto) -> None:
        for tensor in proto.graph.initializer:
            if tensor.dims == [3, 4]:
                tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor)[0], tensor.name))

    file = exported(Norm(), ("x=float32[batch,3,4]",), tmp_path, exporter="dynamo")
    proof = proven(file, shortened)
    assert proof.evidence.blame is not None
    assert (proof.evidence.blame.passes, proof.evidence.blame.level) == (("SkipLayerNormFusion",), "extended")


def test_a_pass_that_makes_an_invalid_graph_is_named(tmp_path: Path) -> None:
    """A Cast to the same type before a product with a quotient of ones: both passes take it away, one too many."""

    def cast(proto: onnx.ModelProto) -> None:
        one = numpy_helper.from_array(np.float32(1), "one")
        proto.graph.initializer.append(one)
        (last,) = (node for node in proto.graph.node if node.output[0] == proto.graph.output[0].name)
        name, last.output[0] = last.output[0], "before"
        proto.graph.node.extend(
            [
                helper.make_node("Cast", ["before"], ["same"], to=onnx.TensorProto.FLOAT),
                helper.make_node("Div", ["one", "one"], ["quotient"]),
                helper.make_node("Mul", ["same", "quotient"], [name]),
            ]
        )

    proof = proven(exported(Norm(), ("x=float32[batch,3,4]",), tmp_path, exporter="dynamo"), cast)
    assert proof.evidence.verdict == "fail"
    assert proof.evidence.blame is not None
    assert proof.evidence.blame.passes in (("CastElimination",), ("DivMulFusion",))
    assert proof.defect is not None
    op_types = {proof.defect.graph.nodes[index].op_type for index in proof.defect.nodes}
    assert op_types == {"Cast", "Div", "Mul"}


@pytest.mark.parametrize(
    ("wrong", "found"),
    [({"a"}, ("a",)), ({"h"}, ("h",)), ({"b", "g"}, ("b", "g")), ({"b", "c", "d"}, ("b", "c", "d")), ({"else"}, ())],
)
def test_passes_are_found_by_bisection(wrong: set[str], found: tuple[str, ...]) -> None:
    """One, several that are each wrong, none of those that have a name; in few runs."""
    runs: list[Sequence[str]] = []

    def is_right(without: Sequence[str]) -> bool:
        runs.append(without)
        return wrong <= {*without}

    assert tuple(sorted(wrong_passes("abcdefgh", is_right))) == found
    assert len(runs) <= 1 + 5 * max(len(found), 1)
