"""Residual blocks: each has its movement, and one whose branch is silent is told, as its file can't be proven there."""

from pathlib import Path

import pytest
import torch
from torch import nn

from tasks.core.limits import MOVEMENT_LIMIT
from tasks.core.proof.power import doubts_of_blocks, notes_of_blocks
from tasks.core.records.evidence import BlockPower, Evidence
from tests.core.proof.proving import IMAGE, prove
from tests.models.tiny_models import Classifier


class Block(nn.Module):
    """x + f(x), where x is led through a convolution if the number of channels changes."""

    def __init__(self, num_in: int, num_out: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.first, self.second = nn.Conv2d(num_in, num_out, 3, padding=1), nn.Conv2d(num_out, num_out, 3, padding=1)
        self.shortcut = nn.Conv2d(num_in, num_out, 1) if num_in != num_out else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add."""
        branch = self.second(torch.relu(self.first(x))) * self.scale
        return self.shortcut(x) + branch


class Residual(nn.Module):
    """A stem, a plain block, one with a convolution as shortcut, a head."""

    def __init__(self, *scales: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.blocks = nn.Sequential(Block(8, 8, scales[0]), Block(8, 16, scales[1]))
        self.head = nn.Linear(16 * 64, 5)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Score an 8 x 8 image."""
        return self.head(self.blocks(torch.relu(self.stem(image))).flatten(1))


class Tagger(nn.Module):
    """An LSTM, whose cells add without being residual."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.lstm, self.head = nn.LSTM(6, 12, batch_first=True), nn.Linear(12, 4)

    def forward(self, steps: torch.Tensor) -> torch.Tensor:
        """Score each step."""
        return self.head(self.lstm(steps)[0])


def _prove(model: nn.Module, folder: Path, inputs: tuple[str, ...] = IMAGE) -> Evidence:
    return prove(model, inputs, folder, exporter="torchscript")


def test_every_block_has_its_movement(tmp_path: Path) -> None:
    """A block with a convolution as shortcut is one, too; each is named by its path and the line of its sum."""
    evidence = _prove(Residual(1.0, 1.0), tmp_path)
    assert evidence.verdict == "pass", evidence.reasons
    assert [block.path for block in evidence.blocks] == ["blocks.0", "blocks.1"]
    assert all(block.movement > MOVEMENT_LIMIT for block in evidence.blocks)
    lines = Path(__file__).read_text().splitlines()
    for block in evidence.blocks:
        file, _, line = block.source.partition(":")
        assert file == Path(__file__).name
        assert "self.shortcut(x) + branch" in lines[int(line) - 1]


def test_silent_blocks_are_inconclusive(tmp_path: Path) -> None:
    """Where no branch is heard in the sums, a file without the blocks would agree as well."""
    evidence = _prove(Residual(1e-9, 1e-9), tmp_path)
    assert evidence.verdict == "inconclusive"
    assert "all 2 residual blocks are silent" in evidence.reasons[0]
    assert "--weights random" in evidence.reasons[0]


def test_one_silent_block_is_noted(tmp_path: Path) -> None:
    """What was not compared is said beside the pass."""
    evidence = _prove(Residual(1.0, 1e-9), tmp_path)
    assert evidence.verdict == "pass", evidence.reasons
    assert "1 of 2 residual blocks are silent, so not compared: blocks.1" in evidence.notes


@pytest.mark.parametrize(
    ("model", "inputs"), [(Tagger, ("steps=float32[batch,7,6]",)), (Classifier, IMAGE)], ids=["LSTM", "CNN"]
)
def test_other_sums_are_no_blocks(model: type[nn.Module], inputs: tuple[str, ...], tmp_path: Path) -> None:
    """Gates and biases add, too, but nothing to what they were computed from."""
    evidence = _prove(model(), tmp_path, inputs)
    assert evidence.verdict == "pass", evidence.reasons
    assert evidence.blocks == ()


def test_a_movement_that_is_no_number_is_silent() -> None:
    """NaN is no proof of anything."""
    loud, nan = (BlockPower(path="", source="", movement=value) for value in (MOVEMENT_LIMIT, float("nan")))
    assert list(doubts_of_blocks([nan]))
    assert list(notes_of_blocks([loud, nan]))
    assert not list(doubts_of_blocks([loud, nan]))
