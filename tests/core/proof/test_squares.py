"""Slices of an output have a scale of their own, unless cancellation took it."""

import numpy as np
import pytest

from tasks.core.arrays import EPS32
from tasks.core.limits import SLICE_LIMIT
from tasks.core.proof.parity import FloatPool, OutputRuns
from tasks.core.records.evidence import FamilyParity

GENERATOR = np.random.default_rng(0)
BESIDE = np.array([5.4e6, 5.4e6, 1.0, 1e-3])
"""Metres beside an angle and a score."""


def _held(
    exact: np.ndarray, wrong: np.ndarray, *, noise: np.ndarray | float = EPS32, family: str = "normal"
) -> FamilyParity:
    """The figures of a file that is off by `wrong`, where the module is by `noise`."""
    own = GENERATOR.choice([-1, 1], exact.shape) * noise
    pool = FloatPool(family)
    pool.add(
        OutputRuns([(exact + wrong).astype(np.float32)], (exact + own).astype(np.float32), [], exact, batch_axis=0)
    )
    return pool.result()


def test_an_error_far_below_one_rounding_of_the_whole_shows_in_its_slice() -> None:
    """Scores off by a tenth, beside metres of which one rounding is 0.6."""
    exact = GENERATOR.standard_normal((50, 4)) * BESIDE
    found = _held(exact, np.array([0, 0, 0, 1e-4]), noise=EPS32 * BESIDE)
    assert found.noise_ratio < 1
    assert found.slice_ratio > SLICE_LIMIT
    assert found.worst_slice == "axis 1, index 3"


@pytest.mark.parametrize("shape", [(40, 200), (8000,)], ids=["rows", "flat"])
def test_values_of_one_size_are_a_slice_wherever_they_stand(shape: tuple[int, ...]) -> None:
    """Half of the elements, at any place, are masked by -1e4: the others are compared at their own scale."""
    masked = GENERATOR.random(shape) < 0.5
    exact = GENERATOR.standard_normal(shape) - np.where(masked, 1e4, 0)
    noise = EPS32 * np.abs(exact)
    assert _held(exact, noise / 2, noise=noise).slice_ratio < 2
    found = _held(exact, np.where(masked, 0, 1e-4), noise=noise)
    assert found.slice_ratio > SLICE_LIMIT
    assert found.worst_slice.startswith("values of")


def test_what_cancellation_leaves_is_held_to_the_whole() -> None:
    """A column of differences of large numbers is rounding only, and luck where the module has none of it."""
    exact = GENERATOR.standard_normal((50, 2))
    exact[:, 1] *= 1e-9
    noise = np.stack([np.full(50, EPS32), np.where(np.arange(50) % 5 == 0, 1e-9, 0)], axis=1)
    found = _held(exact, np.array([0, EPS32]), noise=noise)
    assert found.slice_ratio < SLICE_LIMIT
    assert found.borrowed_ratio > SLICE_LIMIT


def test_zeros_have_no_scale() -> None:
    """Where a ReLU is closed a file may be off by a rounding of the whole, not by more."""
    exact = np.maximum(GENERATOR.standard_normal((50, 2)), 0) * [1.0, 0.0]
    assert _held(exact, np.array([0, EPS32])).slice_ratio < 2
    assert _held(exact, np.array([0, 100 * EPS32])).slice_ratio > SLICE_LIMIT


def test_what_a_runtime_may_flush_to_zero_is_no_error() -> None:
    """Probabilities below the least normal number of float32."""
    exact = np.full((50, 2), [1.0, 1e-39])
    assert _held(exact, np.array([0, -1e-39]), noise=EPS32 * exact).slice_ratio < 2


def test_zeros_judge_by_the_whole() -> None:
    """All probes of zeros have the same values, and the same luck in what cancels."""
    exact = GENERATOR.standard_normal((50, 4)) * BESIDE
    assert _held(exact, np.array([0, 0, 0, 1e-4]), noise=EPS32 * BESIDE, family="zeros").slice_ratio < 1
