"""Sets of weights are found wherever they lie in a checkpoint."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tasks.core.errors import WeightsError
from tasks.core.weights.state_dicts import find_sets
from tests.core.weights.checkpoints import equal, read_state_dict, save, small


@pytest.mark.parametrize(
    "nesting",
    [("state_dict",), ("model_state_dict",), ("model_state",), ("model",), ("net",), ("ema",), ("my_own_key",),
     ("checkpoint", "model"), ("state", "state_dict")],
)  # fmt: skip
def test_finds_nested_weights(nesting: tuple[str, ...], tmp_path: Path) -> None:
    """Weights are found under the usual keys, under one's own, and two levels deep, and the keys are reported."""
    content: Any = small().state_dict()
    for key in reversed(nesting):
        content = {"epoch": 3, key: content, "vocabulary": ["a", "b"]}
    found = read_state_dict(save(content, tmp_path / "w.pth"))
    assert equal(found.tensors, small().state_dict())
    assert found.nesting == nesting


@pytest.mark.parametrize("content", [3, [torch.zeros(2)], {"epoch": 3}, {}, {"a": {"b": 3}}, torch.zeros(3)])
def test_a_file_without_named_tensors_says_what_it_holds(content: Any, tmp_path: Path) -> None:
    """A checkpoint without a state dict is told by what it holds instead."""
    with pytest.raises(WeightsError, match=r"w\.pth holds no tensors by name but "):
        read_state_dict(save(content, tmp_path / "w.pth"))


def test_a_state_dict_is_taken_as_it_is() -> None:
    """A plain state dict has no nesting."""
    assert find_sets(small().state_dict(), "w.pth")[0].label == ""


def test_parts_of_tensors_are_refused() -> None:
    """A tensor of which a process of FSDP has only its own part is not taken for the whole."""

    class Part(torch.Tensor):
        def full_tensor(self) -> torch.Tensor:
            raise NotImplementedError

    with pytest.raises(WeightsError, match=r"w\.pth holds one process's parts of tensors"):
        find_sets({"weight": torch.ones(2).as_subclass(Part)}, "w.pth")
