"""Pickles are loaded as far as they hold values; what needs code is refused with a line that converts it."""

import argparse
import contextlib
import pickle
from pathlib import Path

import pytest
import torch

from tasks.core.errors import WeightsError
from tests.core.weights.checkpoints import Running, equal, read_state_dict, save, small


def test_a_checkpoint_that_needs_code_says_how_to_convert_it(tmp_path: Path) -> None:
    """A checkpoint with an argparse.Namespace is refused, and the way out in the message really works."""
    path = save({"args": argparse.Namespace(lr=0.1), "state_dict": small().state_dict()}, tmp_path / "w.pth")
    _refused_and_converted(path, tmp_path)


def test_a_pickled_module_says_how_to_convert_it(tmp_path: Path) -> None:
    """A whole module is refused, and the way out in the message really works."""
    _refused_and_converted(save(small(), tmp_path / "w.pth"), tmp_path)


@pytest.mark.parametrize("key", ["model", "my_key"])
def test_a_module_beside_others_says_how_to_convert_it(key: str, tmp_path: Path) -> None:
    """A module under a key of a checkpoint, as YOLO writes it, is refused with a way out that works."""
    _refused_and_converted(save({key: small(), "epoch": 3, "args": argparse.Namespace()}, tmp_path / "w.pth"), tmp_path)


def _refused_and_converted(path: Path, folder: Path) -> None:
    with pytest.raises(WeightsError, match=r"needs code to be loaded \(\w.*convert it once: ") as caught:
        read_state_dict(path)
    text = str(caught.value)
    assert "\n" not in text
    command = text.partition("convert it once: ")[2].removesuffix(".")
    with contextlib.chdir(folder):
        exec(command, {"torch": torch})
    assert equal(read_state_dict(folder / "weights.pth").tensors, small().state_dict())


def test_pickles_run_no_code(tmp_path: Path) -> None:
    """A pickle that would run a function is refused before it does."""
    for legacy in (True, False):
        torch.save({"w": torch.ones(1), "x": Running(tmp_path / "ran")}, tmp_path / "evil.pth",
                   _use_new_zipfile_serialization=not legacy)  # fmt: skip
        with pytest.raises(WeightsError, match="needs code"):
            read_state_dict(tmp_path / "evil.pth")
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(Running(tmp_path / "ran")))
    with pytest.raises(WeightsError):
        read_state_dict(tmp_path / "evil.pkl")
    assert not (tmp_path / "ran").exists()
