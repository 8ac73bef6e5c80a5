"""What tracing freezes is told apart: what follows from shapes, and what an input's values decide."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import _assert, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tasks.core.forward.frozen_values import FrozenValues

BY_SHAPES: dict[str, Callable[[Any], Any]] = {
    "a size": lambda x: bool(x.shape[0] > 5),
    "number of elements": lambda x: bool(x.numel() > 3),
    "len": len,
    "a scale for attention": lambda x: np.sqrt(x.shape[-1]),
    "positions": lambda x: bool(torch.arange(x.shape[0]).max() > 2),
    "zeros of its size": lambda x: bool(torch.zeros(x.shape[0]).sum() > 0),
    "ones like it": lambda x: bool(torch.ones_like(x).sum() > 0),
    "the size of a computed value": lambda x: bool(torch.cat([x * 2, x.relu()]).shape[0] > 2),
    "the size of what is repeated": lambda x: bool(torch.repeat_interleave(x, 2, 0).shape[0] > 2),
    "the size of what a size repeats": lambda x: bool(torch.repeat_interleave(x, x.shape[0] // 2, 0).shape[0] > 2),
    "how many rows are packed": lambda x: _packed(x),
    "a constant that is written": lambda x: bool(_written(torch.tensor(3.0)).sum() > 0),
}


def _packed(x: torch.Tensor) -> torch.Tensor:
    packed = pack_padded_sequence(x[..., None], (x[:, 0] > 0) + 1, batch_first=True, enforce_sorted=False)
    return pad_packed_sequence(nn.GRU(1, 2, batch_first=True)(packed)[0], batch_first=True, total_length=4)[0]


BY_VALUES: dict[str, Callable[[Any], Any]] = {
    "a comparison": lambda x: bool(x.sum() > 0),
    "any": lambda x: bool(x.isnan().any()),
    "int": lambda x: int(x.max()),
    "float": lambda x: float(x.mean()),
    "item": lambda x: x.mean().item(),
    "a list": lambda x: x.tolist(),
    "a NumPy array": lambda x: x.numpy(),
    "as a NumPy array": np.asarray,
    "membership": lambda x: 3 in x,
    "Python's max": lambda x: max(x[0]),
    "equal": lambda x: torch.equal(x, x * 1),
    "allclose": lambda x: torch.allclose(x, x * 1),
    "is_nonzero": lambda x: torch.is_nonzero(x.sum()),
    "the number of nonzero elements": lambda x: bool(torch.nonzero(x > 0).shape[0] > 3),
    "len of the nonzero elements": lambda x: len(torch.nonzero(x > 0)),
    "the size of a selection": lambda x: bool(x[x > 0].shape[0] > 2),
    "the size of a computed selection": lambda x: bool(torch.relu(x[x > 0] * 2).numel() > 2),
    "the size of what values repeat": lambda x: bool(torch.repeat_interleave(x, (x[:, 0] > 0) + 1, 0).shape[0] > 2),
    "a value written into a buffer": lambda x: bool(_written(x.sum()).sum() > 0),
    "the rows of a selection": lambda x: list(x[x > 0]),
    "its parts": lambda x: [x[x > 0].unbind(), torch.split(x[x > 0], 1), x[x > 0].chunk(3)],
    "past autograd": lambda x: bool(x.data.sum() > 0),
    "through a scripted loop": lambda x: bool(torch.jit.script(_total)(x).sum() > 0),
}


def _written(value: torch.Tensor) -> torch.Tensor:
    buffer = torch.zeros(4)
    buffer[0] = value
    return buffer


def _total(x: torch.Tensor) -> torch.Tensor:
    total = torch.zeros(4)
    for row in range(x.shape[0]):
        total = total + x[row]
    return total


class Asks(nn.Module):
    """Takes something from its input, and a weight's sign, which the file fixes anyway."""

    def __init__(self, question: Callable[[Any], Any]) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self._question = question

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Ask, and answer."""
        self._question(x)
        return self.layer(x)


class AsksWeights(nn.Module):
    """Takes another way by a parameter's values."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Negate, where a bias says so."""
        return -self.layer(x) if self.layer.bias.sum() > 0 else self.layer(x)


class Asserts(nn.Module):
    """Raises where an input is too large."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Answer, or raise."""
        assert (x < 100).all(), "too large"
        _assert((x > -100).all(), "too small")
        return self.layer(x)


@pytest.mark.parametrize("question", BY_SHAPES)
def test_what_follows_from_shapes_is_noted_only(question: str, tmp_path: Path) -> None:
    """Probes of other sizes prove it."""
    assert set(_frozen(Asks(BY_SHAPES[question]), tmp_path).values()) == {False}


def test_parts_whose_number_follows_from_shapes_are_not_noted(tmp_path: Path) -> None:
    """Probes of other sizes prove them, and nothing is to be said of each `chunk`."""
    asked = Asks(lambda x: [list(iter(x)), x.chunk(2), x[x[:, 0] > 0].unbind(1), x.split([1, 2])])
    with FrozenValues(1).watched() as frozen:
        torch.jit.trace(asked, torch.randn(3, 4))
    assert frozen.lines == {}


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
@pytest.mark.parametrize("question", BY_VALUES)
def test_what_values_decide_is_found(question: str, tmp_path: Path) -> None:
    """The line is that of the code that asked."""
    lines = _frozen(Asks(BY_VALUES[question]), tmp_path)
    assert True in lines.values()
    assert all(line.startswith("test_frozen_values.py:") for line in lines)


@pytest.mark.parametrize("model", [AsksWeights, Asserts])
def test_what_has_no_other_branch_is_noted_only(model: type[nn.Module], tmp_path: Path) -> None:
    """A parameter's value is the file's own, and behind an assertion nothing is computed."""
    assert set(_frozen(model(), tmp_path).values()) == {False}


def _frozen(model: nn.Module, folder: Path) -> dict[str, bool]:
    with FrozenValues(1).watched() as frozen, torch.no_grad(), pytest.warns():  # the exporter's own words
        torch.onnx.export(
            model.eval(), (torch.randn(3, 4),), str(folder / "model.onnx"),
            dynamo=False, input_names=["x"], dynamic_axes={"x": {0: "batch"}},
        )  # fmt: skip
    return frozen.lines
