"""A pass leaves no weight unexamined: each is in the file, or a probe would have shown it wrong."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from torch import nn

from tests.core.proof.proving import Mutation, exported, prove

IDS = ("ids=int64[batch,length=9:1..64]@0..29999",)
FEATURES = ("x=float32[batch,8]",)


class Tables(nn.Module):
    """Tables of words and of positions, of which ordinary probes look up a few rows."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words, self.positions, self.last = nn.Embedding(30000, 8), nn.Embedding(64, 8), nn.Linear(8, 4)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Scores."""
        found = self.words(ids) + self.positions(torch.arange(ids.shape[1]))
        return self.last(found.mean(1))  # type: ignore[no-any-return]


class Dead(nn.Module):
    """A channel of the hidden layer never opens."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(8, 6), nn.Linear(6, 4)
        nn.init.constant_(self.first.bias[2:3], -1e3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores."""
        return self.last(self.first(x).relu())  # type: ignore[no-any-return]


def _added(shape: tuple[int, ...], at: tuple[int, ...], *, by: float = 1.0) -> Mutation:
    """Change the constant of this shape, or of its axes exchanged, at one place."""

    def mutate(proto: onnx.ModelProto) -> None:
        for tensor in proto.graph.initializer:
            values = numpy_helper.to_array(tensor).copy()
            if tuple(sorted(values.shape)) == tuple(sorted(shape)):
                (values if values.shape == shape else values.T)[at] += by
                tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
                return
        pytest.fail(f"no constant of {shape}")

    return mutate


def _doubled(proto: onnx.ModelProto) -> None:
    """The last layer has twice its weights, and half its inputs: the same function."""
    tensor = next(t for t in proto.graph.initializer if sorted(t.dims) == [4, 6])
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(2), tensor.name))
    index, node = next((i, n) for i, n in enumerate(proto.graph.node) if tensor.name in n.input)
    taken = next(name for name in node.input if name != tensor.name)
    node.input[:] = ["halved" if name == taken else name for name in node.input]
    proto.graph.initializer.append(numpy_helper.from_array(np.float32(0.5), "half"))
    proto.graph.node.insert(index, helper.make_node("Mul", [taken, "half"], ["halved"]))


def test_a_pass_says_what_became_of_the_weights(tmp_path: Path) -> None:
    """All of them are in the file."""
    evidence = prove(Tables(), IDS, tmp_path)
    assert evidence.verdict == "pass", evidence.reasons
    assert evidence.coverage is not None
    assert (evidence.coverage.num_weights, evidence.coverage.missing, evidence.coverage.share) == (4, (), 1.0)
    assert evidence.coverage.sentence == "all 4 weights are in the file: 4 identical"


@pytest.mark.parametrize(("shape", "at"), [((30000, 8), (12345,)), ((64, 8), (63,))], ids=["a word", "a position"])
def test_a_row_that_ordinary_probes_leave_out_fails(
    shape: tuple[int, ...], at: tuple[int, ...], tmp_path: Path
) -> None:
    """Rows that are not in the file are looked up."""
    evidence = prove(Tables(), IDS, tmp_path, mutate=_added(shape, at))
    assert evidence.verdict == "fail", evidence.reasons


def test_a_weight_behind_a_dead_channel_is_inconclusive(tmp_path: Path) -> None:
    """No ordinary input shows it, but it is not what the module has; what is right still passes."""
    dead = exported(Dead(), FEATURES, tmp_path)
    assert dead.prove().verdict == "pass"
    evidence = dead.prove(mutate=_added((6, 8), (2, 3)))
    assert evidence.verdict == "inconclusive"
    assert evidence.reasons == (
        "1 of 48 elements of first.weight, the first at [2, 3], are in no constant of the file, and no probe "
        "depends on them; give inputs that show it with --sample, or a wider range",
    )
    assert evidence.coverage is not None
    assert 0.9 < evidence.coverage.share < 1


class Normalised(nn.Module):
    """A layer whose normalisation the exporter folds into its weights, before many outputs."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm, self.last = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 400)
        self.norm.running_mean.uniform_(-1, 1)
        self.norm.running_var.uniform_(0.5, 2)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Scores."""
        return self.last(self.norm(self.conv(image)).relu().mean((2, 3)))  # type: ignore[no-any-return]


@pytest.mark.parametrize("shape", [(8, 3, 3, 3), (400, 8)], ids=["folded", "plain"])
def test_a_difference_below_the_noise_is_seen_in_all_answers_together(shape: tuple[int, ...], tmp_path: Path) -> None:
    """No output is off by much, but all together they are off by just what the element makes of them."""
    file = exported(Normalised(), ("image=float32[batch,3,8,8]",), tmp_path, exporter="dynamo")
    assert file.prove().verdict == "pass"
    evidence = file.prove(mutate=_added(shape, (3,), by=3e-7))
    assert evidence.verdict == "fail"
    assert "and the answers are off by just what that makes of them" in evidence.reasons[0]
    assert evidence.noise_ratio < 4


def test_what_is_not_in_the_file_may_be_exercised(tmp_path: Path) -> None:
    """Weights that somebody scaled count where an output depends on them: all but those behind the dead channel."""
    living = Dead()
    nn.init.zeros_(living.first.bias)
    (tmp_path / "living").mkdir()
    evidence = exported(living, FEATURES, tmp_path / "living").prove(mutate=_doubled)
    assert evidence.verdict == "pass", evidence.reasons
    assert evidence.coverage is not None
    assert [(w.name, w.num_missing, w.num_unexercised) for w in evidence.coverage.missing] == [("last.weight", 24, 0)]
    assert evidence.coverage.sentence == (
        "3 of 4 weights are in the file: 2 identical, 1 folded; probes exercised 1 of the other 1"
    )
    evidence = exported(Dead(), FEATURES, tmp_path).prove(mutate=_doubled)
    assert evidence.verdict == "inconclusive"
    assert "4 of 24 elements of last.weight, the first at [0, 2]" in evidence.reasons[0]
