"""Branches on sizes: an exporter keeps one side, and the file is wrong on the other; what is no such branch passes."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tasks.core.records.evidence import Evidence
from tests.core.proof.proving import exported
from tests.field.traced import traced

LENGTH = ("x=float32[batch,length=16,8]",)
PACKED = ("x=float32[batch,length=16:8..,8]", "lengths=int64[batch]@1..8")
ATTENTION = ("x=float32[batch,queries=12,8]", "y=float32[batch,keys=20,8]")
MAP = ("x=float32[batch,height=20,width=24,8]",)
TRACED = {"exporter": "torchscript"}


class Two(nn.Module):
    """Two layers, of which sizes choose one."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)

    def is_other(self, *shapes: torch.Size) -> bool:
        """Do the sizes choose the second layer?"""
        raise NotImplementedError

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """One layer."""
        return torch.tanh(self.second(x) if self.is_other(x.shape) else self.first(x))


class Long(Two):
    """Another layer beyond length 100."""

    def is_other(self, *shapes: torch.Size) -> bool:
        """Is it long?"""
        return shapes[0][1] > 100


class VeryLong(Two):
    """Another layer beyond a length that nobody can run."""

    def is_other(self, *shapes: torch.Size) -> bool:
        """Is it very long?"""
        return shapes[0][1] > 10**9


class AtOneLength(Two):
    """Another layer at one length only."""

    def is_other(self, *shapes: torch.Size) -> bool:
        """Is it just that?"""
        return int(shapes[0][1]) == 1000


class BigBatch(Two):
    """Another layer for many rows, asked of `len`."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """One layer."""
        return self.second(x) if len(x) > 40 else self.first(x)


class LongInside(Two):
    """A branch inside a branch, each of which a file must have."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same up to 300."""
        x = self.first(x)
        if x.shape[1] > 64:
            x = x * 1.0
            if x.shape[1] > 300:
                x = self.second(x)
        return x.tanh()


class Packed(Two):
    """A packed LSTM, which torch.export refuses, and a branch for long recordings."""

    def __init__(self, longest: int = 64) -> None:
        super().__init__()
        self.rnn = nn.LSTM(8, 4, batch_first=True, bidirectional=True)
        self.longest = longest

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Long ones are smoothed."""
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        y, _ = pad_packed_sequence(self.rnn(packed)[0], batch_first=True, total_length=x.shape[1])
        y = self.first(y)
        return 0.5 * y + 0.5 * y.roll(1, 1) if x.shape[1] > self.longest else y


class Rotary(Two):
    """A table of angles that is made anew, and kept, when a longer sequence comes."""

    def __init__(self, *, keeps: bool) -> None:
        super().__init__()
        self.keeps = keeps
        self.table = self._angles(64)

    def _angles(self, length: int) -> torch.Tensor:
        return torch.outer(torch.arange(length).float(), 1 / 10000 ** (torch.arange(0, 8, 2) / 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Rotated pairs."""
        table = self.table if x.shape[1] <= self.table.shape[0] else self._angles(2 * x.shape[1])
        if self.keeps:
            self.table = table
        cos, sin = table[: x.shape[1]].cos(), table[: x.shape[1]].sin()
        even, odd = self.first(x)[..., 0::2], self.first(x)[..., 1::2]
        return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2)


class Turned(nn.Module):
    """Portraits are turned first."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores."""
        if x.shape[2] > x.shape[3]:
            x = x.transpose(2, 3).flip(3)
        return self.head(torch.relu(self.conv(x)).mean((2, 3)))  # type: ignore[no-any-return]


class Attention(Two):
    """Causal where both lengths are equal."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Attention of x to y."""
        scores = self.first(x) @ self.second(y).transpose(1, 2)
        if x.shape[1] == y.shape[1]:
            scores = scores.masked_fill(torch.ones(scores.shape[1:], dtype=torch.bool).triu(1), float("-inf"))
        return scores.softmax(-1) @ y


class Area(Two):
    """Another layer for large maps."""

    def is_other(self, *shapes: torch.Size) -> bool:
        """Is it large?"""
        return shapes[0][1] * shapes[0][2] > 5000


class Parts(Two):
    """Parts of 50, of which the first has a layer of its own."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Put together again."""
        first, *others = x.split(50, 1)
        return torch.cat([self.first(first), *map(self.second, others)], 1)


class Chosen(Two):
    """A layer for one length, taken from a dict: no instruction differs."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """One layer."""
        return {300: self.second}.get(int(x.shape[1]), self.first)(x)  # type: ignore[no-any-return]


class ByParts(Two):
    """Parts of 64 are normalised each, one after another."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Put together again."""
        parts = []
        for start in range(0, x.shape[1], 64):
            parts.append(self.first(x[:, start : start + 64]).softmax(1))
        return torch.cat(parts, 1)


class RoundedUp(Two):
    """Pads to multiples of 64, by way of a number that tracing freezes, and normalises."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """What is padded has a share, too."""
        missing = math.ceil(x.shape[1] / 64) * 64 - x.shape[1]
        return self.first(nn.functional.pad(x, (0, 0, 0, missing))).softmax(1)


class LogScaled(Two):
    """Long sequences are scaled by a logarithm; no instruction differs."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The first layer."""
        return self.first(x) * max(1.0, math.log(x.shape[1], 100))  # type: ignore[no-any-return]


class Positions(nn.Module):
    """A table of 512 learned positions."""

    def __init__(self, length: int = 512) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words, self.positions, self.last = nn.Embedding(100, 16), nn.Embedding(512, 16), nn.Linear(16, 4)
        self.positions.weight = nn.Parameter(self.positions.weight[:length].clone())

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Scores."""
        return self.last(torch.tanh(self.words(ids) + self.positions.weight[: ids.shape[1]]))  # type: ignore[no-any-return]


class Bounded(Two):
    """Raises beyond length 100 of itself; pads to multiples of four; splits its batch."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The first layer."""
        if x.shape[1] > 100:
            raise ValueError("too long")
        padded = nn.functional.pad(x, (0, 0, 0, -x.shape[1] % 4))
        return self.first(padded)[:, : x.shape[1]]


class Equivalent(Two):
    """Two sides that compute the same."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The first layer."""
        return self.first(x) if x.shape[1] <= 100 else self.first(x.flatten(0, 1)).unflatten(0, x.shape[:2])


def _evidence(model: nn.Module, inputs: tuple[str, ...], folder: Path, **fields: Any) -> Evidence:
    return exported(model, inputs, folder, **fields).prove()


@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        (Long(), LENGTH),
        (Long(), ("x=float32[batch,length=16:1..512,8]",)),
        (AtOneLength(), LENGTH),
        (BigBatch(), LENGTH),
        (Parts(), LENGTH),
        (Chosen(), LENGTH),
        pytest.param(ByParts(), LENGTH, marks=pytest.mark.slow),
        (RoundedUp(), LENGTH),
        pytest.param(LogScaled(), LENGTH, marks=pytest.mark.slow),
        (LongInside(), LENGTH),
        (Rotary(keeps=False), LENGTH),
        (Rotary(keeps=True), LENGTH),
        (Turned(), ("x=float32[batch,3,height=20,width=30]",)),
        pytest.param(Packed(), PACKED, marks=pytest.mark.slow),
        pytest.param(Area(), MAP, marks=pytest.mark.slow),
        pytest.param(Attention(), ATTENTION, marks=pytest.mark.slow),
    ],
)
def test_a_traced_file_of_one_side_fails(model: nn.Module, inputs: tuple[str, ...], tmp_path: Path) -> None:
    """At the size where the other side is taken, or where its table ends."""
    assert _evidence(model, inputs, tmp_path, **TRACED).verdict == "fail"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        (Turned(), ("x=float32[batch,3,height=20,width=30]",)),
        (Attention(), ATTENTION),
        (Area(), MAP),
        (Rotary(keeps=False), LENGTH),
        (AtOneLength(), LENGTH),
    ],
)
def test_no_exporter_gets_a_file_of_one_side_through(model: nn.Module, inputs: tuple[str, ...], tmp_path: Path) -> None:
    """The relation of two sizes, which torch.export keeps to itself: neither exporter's file passes."""
    assert _evidence(model, inputs, tmp_path).verdict == "fail"


def test_a_branch_beyond_what_can_be_run_is_inconclusive(tmp_path: Path) -> None:
    """The reason names line and remedy; with the bound declared the file passes."""
    evidence = _evidence(VeryLong(), LENGTH, tmp_path, **TRACED)
    assert evidence.verdict == "inconclusive"
    assert "length > 1000000000 (test_size_branches.py:" in evidence.reasons[0]
    assert _evidence(VeryLong(), ("x=float32[batch,length=16:1..512,8]",), tmp_path, **TRACED).verdict == "pass"


@pytest.mark.parametrize("model", [Bounded(), Equivalent(), Positions()])
def test_a_true_file_passes(model: nn.Module, tmp_path: Path) -> None:
    """What the module itself refuses is no other side; sides that compute the same are no difference."""
    inputs = ("ids=int64[batch,length=16]@0..99",) if isinstance(model, Positions) else LENGTH
    evidence = _evidence(model, inputs, tmp_path, **TRACED)
    assert (evidence.verdict, evidence.reasons) == ("pass", ())


def test_a_foreign_file_is_run_at_the_declared_bound(tmp_path: Path) -> None:
    """Its table ends at 128 where the module's has 512: true up to there, whether 512 is declared or not."""
    inputs = ("ids=int64[batch,length=16:1..512]@0..99",)
    assert traced(Positions(), inputs, tmp_path, file_of=Positions(128)).prove().verdict == "fail"
    undeclared = ("ids=int64[batch,length=16]@0..99",)
    assert traced(Positions(), undeclared, tmp_path, file_of=Positions(128)).prove().verdict == "fail"
    assert traced(Positions(), inputs, tmp_path).prove().verdict == "pass"


def test_a_foreign_file_of_one_side_fails(tmp_path: Path) -> None:
    """The module at hand says where to look."""
    assert traced(Long(), LENGTH, tmp_path).prove().verdict == "fail"
    assert traced(Equivalent(), LENGTH, tmp_path).prove().verdict == "pass"
