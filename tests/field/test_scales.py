"""One output, several scales: what is small beside the largest is still an error, and -1e9 takes nothing away."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from tests.core.proof.proving import Exported, led_through, prove, weight
from tests.field.traced import traced

FEATURES = ("x=float32[batch,16]",)


class Logits(nn.Module):
    """Scores of 40 choices, of which some are forbidden."""

    def __init__(self, low: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.low = nn.Linear(16, 64), nn.Linear(64, 40), low
        self.register_buffer("banned", torch.arange(40) % 3 == 0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Forbidden ones get a large negative number."""
        return self.b(torch.relu(self.a(x))).masked_fill(self.banned, self.low)  # type: ignore[no-any-return]


class Added(Logits):
    """The number is added, so that it moves with the score."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """At places that no axis tells apart."""
        scores = self.b(torch.relu(self.a(x))).reshape(-1, 8, 5)
        return scores + torch.where((torch.arange(40) % 3 == 0).reshape(8, 5), self.low, 0.0)


class Pose(nn.Module):
    """Two coordinates in metres, a heading, a score."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk, self.metres, self.angles = nn.Linear(16, 64), nn.Linear(64, 2), nn.Linear(64, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Side by side."""
        y = torch.relu(self.trunk(x))
        return torch.cat([self.metres(y) * 5.4e6, self.angles(y).sigmoid()], dim=1)


class Clipped(Pose):
    """Its angles have a limit that only wide inputs reach."""

    limit = 1.5

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Beside metres."""
        y = torch.relu(self.trunk(x))
        return torch.cat([self.metres(y) * 5.4e6, self.angles(y).clamp(-self.limit, self.limit)], dim=1)


class Unclipped(Clipped):
    """The limit is lost."""

    limit = 1e6


class Offset(nn.Module):
    """A score that is lost in a large constant."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Moves by about ten roundings of the constant."""
        return self.layer(x) * 1e3 + 1e9  # type: ignore[no-any-return]


def _half(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float16).astype(np.float32)


@pytest.fixture(scope="module")
def banned(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A true file with logits of -3e4."""
    return traced(Logits(-3e4), FEATURES, tmp_path_factory.mktemp("banned"))


def test_a_true_file_passes(banned: Exported) -> None:
    """Large constants do not make anything wrong."""
    assert banned.prove().verdict == "pass"


@pytest.mark.parametrize(
    "change", [_half, lambda v: v * 1.005, lambda v: v * 1.02], ids=["half", "half a percent", "2 percent"]
)
def test_errors_do_not_hide_beside_large_constants(banned: Exported, change: object) -> None:
    """Wrong weights are wrong, though one rounding of -3e4 is 0.004."""
    evidence = banned.prove(mutate=weight("b.weight", change))  # type: ignore[arg-type]
    assert evidence.verdict == "fail"
    assert evidence.outputs[0].noise_ratio < evidence.outputs[0].slice_ratio


@pytest.mark.parametrize("low", [-1e9, float(torch.finfo(torch.float32).min)], ids=["1e9", "least"])
def test_a_true_file_with_huge_constants_passes_and_garbage_does_not(low: float, tmp_path: Path) -> None:
    """What does not move has no say; --constant-output does not let garbage through."""
    file = traced(Logits(low), FEATURES, tmp_path)
    assert file.prove().verdict == "pass"
    garbage = weight("b.weight", lambda values: values[::-1] * 5)
    for constant_outputs in ((), ("output",)):
        assert file.prove(mutate=garbage, constant_outputs=constant_outputs).verdict == "fail"


def test_another_constant_at_banned_places_is_wrong(banned: Exported) -> None:
    """-29,999 is not -30,000."""

    def other(proto: onnx.ModelProto) -> None:
        tensors = [a.t for node in proto.graph.node for a in node.attribute if a.name == "value"]
        for tensor in (*tensors, *proto.graph.initializer):
            values = numpy_helper.to_array(tensor)
            if values.size == 1 and values.dtype == np.float32 and float(values.reshape(())) == -3e4:
                tensor.CopyFrom(numpy_helper.from_array(values * np.float32(29_999 / 30_000), tensor.name))

    assert banned.prove(mutate=other).verdict == "fail"


def test_masks_that_move_with_the_scores(tmp_path: Path) -> None:
    """Elements of one size are compared with each other, wherever they stand."""
    file = traced(Added(-1e4), FEATURES, tmp_path)
    assert file.prove().verdict == "pass"
    assert file.prove(mutate=weight("b.weight", _half)).verdict == "fail"


def test_scores_beside_metres(tmp_path: Path) -> None:
    """Headings and scores are held to their own scale, not to one rounding of 5.4e6."""
    file = traced(Pose(), FEATURES, tmp_path)
    assert file.prove().verdict == "pass"
    for change in (_half, lambda values: values * 0):
        evidence = file.prove(mutate=weight("angles.weight", change))
        assert evidence.verdict == "fail"
        assert "output at axis 1, index" in " ".join(evidence.reasons)


def test_a_lost_limit_beside_metres(tmp_path: Path) -> None:
    """Wide inputs have scales of their own, too: one rounding of the metres is 6 there."""
    evidence = traced(Clipped(), FEATURES, tmp_path, file_of=Unclipped()).prove()
    assert evidence.verdict == "fail"
    assert {family.family for family in evidence.outputs[0].families if family.slice_ratio > 16} == {"wide"}


def test_an_output_that_moves_a_little_is_not_constant(tmp_path: Path) -> None:
    """Whoever says so is told by how much it moves, else any file within eight roundings of the constant would do."""
    file = traced(Offset(), FEATURES, tmp_path)
    still = led_through("output", "Mul", np.float32(1.0))
    assert file.prove(mutate=still).verdict == "inconclusive"
    evidence = file.prove(mutate=still, constant_outputs=("output",))
    assert evidence.verdict == "inconclusive"
    assert "it is not constant, as --constant-output says" in evidence.reasons[0]


@pytest.mark.slow
def test_the_export_of_huge_constants_passes(tmp_path: Path) -> None:
    """By the exporter that comes first."""
    evidence = prove(Logits(-1e9), FEATURES, tmp_path)
    assert evidence.verdict == "pass", evidence.reasons
