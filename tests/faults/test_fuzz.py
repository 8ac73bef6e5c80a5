"""A few seconds of fuzzing; `python tests/faults/fuzz.py --seconds 600` does more."""

import time

import pytest

from tests.faults.fuzz import fuzz


@pytest.mark.parametrize("target", ["spec", "catalog", "checkpoint", "sample", "onnx"])
def test_damage_at_random_is_told_in_a_sentence(target: str) -> None:
    """A second for each, other examples every day."""
    assert fuzz(0.5, first_seed=int(time.time()) // 86_400, only=target, examples=30) >= 30
