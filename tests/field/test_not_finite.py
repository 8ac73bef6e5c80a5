"""Where a module itself is not finite the size or family is left out and named, or the sentence says what to do."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from tests.core.proof.proving import weight
from tests.field.traced import traced


class Statistics(nn.Module):
    """Mean and standard deviation over frames: of one frame the latter is NaN."""

    def __init__(self, axis: int = 1) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last, self.axis = nn.Linear(6, 8), nn.Linear(8, 4), axis

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores."""
        y = torch.relu(self.first(x))
        return self.last((y - y.mean(self.axis, keepdim=True)) / (y.std(self.axis, keepdim=True) + 1.0))  # type: ignore[no-any-return]


class Logarithm(nn.Module):
    """Takes positive numbers only."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.last = nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores."""
        return self.last(torch.log(x))  # type: ignore[no-any-return]


def test_a_size_at_which_the_module_is_nan_is_left_out(tmp_path: Path) -> None:
    """The file is proven at the other sizes, and a note names this one and the declaration that leaves it out."""
    evidence = traced(Statistics(), ("x=float32[batch,length=20,6]",), tmp_path).prove()
    assert evidence.verdict == "pass", evidence.reasons
    said = "length=1 is left out: PyTorch itself gives NaN or Inf there; declare length=20:2.. to say so"
    assert said in evidence.notes
    assert all(1 not in dim.sizes for dim in evidence.dims if dim.name == "length")


def test_a_batch_of_one_is_left_out(tmp_path: Path) -> None:
    """Statistics over the batch are NaN for a single row."""
    evidence = traced(Statistics(axis=0), ("x=float32[batch,6]",), tmp_path).prove()
    assert evidence.verdict == "pass", evidence.reasons
    assert any(note.startswith("batch=1 is left out") for note in evidence.notes)


def test_the_sentence_has_size_family_and_remedy(tmp_path: Path) -> None:
    """Numbers for which the module is not made leave nothing proven; with their range declared it is."""
    evidence = traced(Logarithm(), ("x=float32[batch,6]",), tmp_path).prove()
    assert evidence.verdict == "inconclusive"
    (reason,) = evidence.reasons
    assert "elements at batch=2 (normal inputs)" in reason
    assert "NAME=DTYPE[DIMS]@LOW..HIGH" in reason
    assert traced(Logarithm(), ("x=float32[batch,6]@0.1..9",), tmp_path).prove().verdict == "pass"


def test_a_family_is_left_out_beside_another_one(tmp_path: Path) -> None:
    """Real inputs prove the file where numbers that were drawn are none of the module's."""
    sample = tmp_path / "real.npz"
    np.savez(sample, x=np.random.default_rng(0).uniform(0.5, 3, (16, 6)).astype("float32"))
    evidence = traced(Logarithm(), ("x=float32[batch,6]",), tmp_path, sample=sample).prove()
    assert evidence.verdict == "pass", evidence.reasons
    assert any("is not finite in PyTorch itself" in note for note in evidence.notes)


class Allowed(nn.Module):
    """Logits, of which those that are not allowed are minus infinity."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.last = nn.Linear(6, 4)

    def forward(self, x: torch.Tensor, allowed: torch.Tensor) -> torch.Tensor:
        """As a policy gives them."""
        return self.last(x).masked_fill(~allowed, -torch.inf)  # type: ignore[no-any-return]


class Greater(Allowed):
    """One more is allowed."""

    def forward(self, x: torch.Tensor, allowed: torch.Tensor) -> torch.Tensor:
        """The last one, always."""
        return super().forward(x, allowed | (torch.arange(4) == 3))


def test_an_infinity_that_is_meant_is_compared(tmp_path: Path) -> None:
    """What is infinite in float64, too, must be so in the file, and the rest is held against the module."""
    inputs = ("x=float32[batch,6]", "allowed=bool[batch,4]")
    file = traced(Allowed(), inputs, tmp_path)
    evidence = file.prove()
    assert evidence.verdict == "pass", evidence.reasons
    assert file.prove(mutate=weight("last.weight", lambda values: values * 1.001)).verdict == "fail"
    assert traced(Allowed(), inputs, tmp_path, file_of=Greater()).prove().verdict == "fail"


class Overflowing(nn.Module):
    """Too large for float32."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Infinite for some ordinary inputs, though not in float64."""
        return x.mul(60).exp()


def test_an_overflow_is_none(tmp_path: Path) -> None:
    """Float64 would have a number."""
    evidence = traced(Overflowing(), ("x=float32[batch,6]",), tmp_path).prove()
    assert evidence.verdict == "inconclusive"
    assert "is not finite in PyTorch itself" in evidence.reasons[0]
