"""Every run takes the same way through a module; where one can't, or rounding explains too little, nothing passes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from tasks.core.limits import NOISE_OF_SCALE
from tasks.core.records.evidence import Evidence
from tasks.core.reference.ways import OwnError, difference
from tests.core.proof.proving import exported, led_through, prove
from tests.field.traced import traced

PADDED = ("x=float32[batch,9,8]", "lengths=int64[batch]@2..6")
FEATURES = ("x=float32[batch,8]",)


class Padded(nn.Module):
    """An encoder of padded sequences; PyTorch's fused kernels drop what is padded, its operators do not."""

    def __init__(self, *, enable_nested_tensor: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=enable_nested_tensor)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """All positions."""
        return self.encoder(x, src_key_padding_mask=self.hidden(x, lengths))  # type: ignore[no-any-return]

    @staticmethod
    def hidden(x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Which positions are padded."""
        return torch.arange(x.shape[1])[None] >= lengths[:, None]


class Pooled(Padded):
    """Of padded positions nothing reaches the output, whichever kernels run."""

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """The first position, which is never padded."""
        return super().forward(x, lengths)[:, 0]


class _Typed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(8, 8)


class ScaledByDtype(_Typed):
    """Does something else in float64."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Half of what it is, in float64."""
        y = self.layer(x)
        return y * 0.5 if y.dtype == torch.float64 else y


class ApproximateInFloat32(_Typed):
    """Takes a cheap approximation where it computes in float32, which is off by less than a percent."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """GELU by tanh, or by erf."""
        return F.gelu(self.layer(x), approximate="tanh" if x.dtype == torch.float32 else "none")


class DefaultDtype(_Typed):
    """Looks at PyTorch's default dtype."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """A constant that depends on it."""
        return self.layer(x) + 0.08 * torch.get_default_dtype().itemsize


class Limited(_Typed):
    """Looks up the limits of its dtype, as masks and logarithms do."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits of which some are banned, and logarithms of what may be zero."""
        known, y = torch.finfo(x.dtype), self.layer(x)
        return y.masked_fill(torch.arange(8) % 3 == 0, known.min), y.clamp_min(known.tiny).log()


class Cancelling(_Typed):
    """Loses four digits in float32, by the same operators as in float64."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Adds a large number and takes it away again."""
        return (self.layer(x) + 1e4) - 1e4


class Chaotic(_Typed):
    """Amplifies a rounding until it is as large as the output."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Forty steps of the logistic map, of which the mean is far from zero."""
        y = torch.sigmoid(self.layer(x))
        for _ in range(40):
            y = 3.99 * y * (1 - y)
        return y


def _said(evidence: Evidence) -> str:
    return "; ".join(evidence.reasons)


def test_a_fused_way_that_answers_otherwise_is_a_doubt(tmp_path: Path) -> None:
    """The file has what the operators give, which is not what the module gives its user."""
    evidence = prove(Padded(), PADDED, tmp_path, exporter="torchscript")
    assert evidence.verdict == "inconclusive", _said(evidence)
    assert "encoder (TransformerEncoder)" in _said(evidence)
    assert "enable_nested_tensor=False" in _said(evidence)
    assert all(output.noise_ratio < 8 for output in evidence.outputs)


@pytest.mark.slow
@pytest.mark.parametrize("model", [Padded(enable_nested_tensor=False), Pooled()], ids=["not nested", "pooled"])
def test_a_fused_way_that_answers_alike_passes(model: nn.Module, tmp_path: Path) -> None:
    """Where nothing is dropped, or nothing that is dropped is seen."""
    evidence = prove(model, PADDED, tmp_path, exporter="torchscript")
    assert evidence.verdict == "pass", _said(evidence)


@pytest.mark.slow
def test_an_error_does_not_hide_behind_dropped_positions(tmp_path: Path) -> None:
    """A file that is off by a percent fails, whatever PyTorch's fused kernels do."""
    file = exported(Padded(), PADDED, tmp_path, exporter="torchscript")
    name = next(name for name, _ in file.reference.network.named_parameters() if name.endswith("linear2.weight"))

    def mutate(proto):  # type: ignore[no-untyped-def]
        tensor = next(t for t in proto.graph.initializer if t.name == name)
        tensor.raw_data = (np.frombuffer(tensor.raw_data, np.float32) * 1.01).tobytes()

    assert file.prove(mutate=mutate).verdict == "fail"


@pytest.mark.parametrize("model", [ScaledByDtype(), DefaultDtype(), Chaotic()], ids=lambda model: type(model).__name__)
def test_float32_that_is_far_from_float64_is_a_doubt(model: nn.Module, tmp_path: Path) -> None:
    """An error of the file could hide in the difference; the first module that differs is named."""
    evidence = prove(model, FEATURES, tmp_path, exporter="torchscript")
    assert evidence.verdict == "inconclusive"
    assert f"first in forward itself ({type(model).__name__})" in _said(evidence)


def test_other_operators_in_float64_are_a_doubt(tmp_path: Path) -> None:
    """Also where they differ by less than a percent, in which an error of the file could hide."""
    evidence = prove(ApproximateInFloat32(), FEATURES, tmp_path, exporter="torchscript")
    assert evidence.verdict == "inconclusive"
    assert "calls other operators in float64 than in float32, first in forward itself" in _said(evidence)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_limits_of_a_dtype_are_the_same_in_every_run(dtype: str, tmp_path: Path) -> None:
    """The least and the smallest number are the module's own in float64, too; an error is seen beside them."""
    file = traced(Limited().to(getattr(torch, dtype)), (f"x={dtype}[batch,8]",), tmp_path)
    evidence = file.prove()
    assert evidence.verdict == "pass", _said(evidence)
    larger = led_through("output_1", "Mul", np.array(1.1, dtype=dtype))
    assert file.prove(mutate=larger).verdict == "fail"


def test_lost_digits_are_noise(tmp_path: Path) -> None:
    """The same operators lose them, whatever the dtype: a true file passes."""
    evidence = prove(Cancelling(), FEATURES, tmp_path, exporter="torchscript")
    assert evidence.verdict == "pass", _said(evidence)


def test_rare_jumps_are_luck_where_perturbed_runs_jump_too() -> None:
    """Few elements that are far off, as in runs that are off by one rounding; without such runs it is another way."""
    rng = np.random.default_rng(0)
    float64 = rng.standard_normal((1000, 4))
    torch32, moved, often = (float64.astype(np.float32) for _ in range(3))
    torch32[3] += 1
    moved[[5, 8]] += 1
    often[:300] += 1
    for values, other, wanted in ((torch32, moved, False), (torch32, torch32, True), (often, moved, True)):
        error = OwnError("output", values, float64, [other])
        assert error.share_of_scale > NOISE_OF_SCALE
        assert error.is_unbelievable(NOISE_OF_SCALE) is wanted


def test_a_difference_is_taken_where_both_are_finite() -> None:
    """Another shape differs entirely."""
    a = np.array([1.0, 2.0, np.nan])
    assert difference([a], [np.array([1.0, np.inf, 3.0])]) == (0, 0.0)
    assert difference([a, a], [a, a[:2]]) == (1, float("inf"))
