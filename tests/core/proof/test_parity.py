"""The arithmetic of the verdict, by example and by property."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tasks.core.arrays import EPS32, ratio, rms
from tasks.core.limits import NOISE_LIMIT
from tasks.core.proof.parity import ExactPool, FloatPool, OutputRuns

_VALUES = st.floats(-1e3, 1e3, width=32)
_MATRICES = arrays(np.float32, (4, 6), elements=_VALUES)


def _pool(
    onnx: np.ndarray, torch32: np.ndarray, float64: np.ndarray, perturbed: tuple[np.ndarray, ...] = ()
) -> FloatPool:
    pool = FloatPool("normal")
    pool.add(OutputRuns(onnx=[onnx], torch32=torch32, perturbed=[], float64=float64, batch_axis=0))
    return pool


@given(_MATRICES)
def test_equal_answers_have_a_ratio_of_at_most_one(values: np.ndarray) -> None:
    """A file that answers exactly as torch32 is never further from float64 than torch32."""
    exact = values.astype(np.float64) * (1 + 1e-9)
    assert _pool(values, values, exact).result().noise_ratio <= 1.0


@given(_MATRICES, st.integers(0, 23))
def test_one_nan_in_the_file_fails(values: np.ndarray, place: int) -> None:
    """A NaN where torch32 is finite makes a ratio that is not within any limit."""
    broken = values.copy()
    broken.flat[place] = np.nan
    result = _pool(broken, values, values.astype(np.float64)).result()
    assert not result.noise_ratio <= NOISE_LIMIT


@given(_MATRICES, st.floats(1.0, 1e6))
def test_the_ratio_does_not_depend_on_the_scale(values: np.ndarray, factor: float) -> None:
    """Multiplying everything by a power of two leaves every ratio as it is."""
    scale = 2.0 ** round(math.log2(factor))
    wrong = values + np.float32(1e-3)
    exact = values.astype(np.float64)
    before = _pool(wrong, values, exact).result()
    after = _pool((wrong * np.float32(scale)), values * np.float32(scale), exact * scale).result()
    assert before.noise_ratio == pytest.approx(after.noise_ratio, rel=1e-3)


def test_an_error_of_one_percent_is_tens_of_thousands_of_times_the_noise() -> None:
    """Weights scaled by 1 % are caught by a wide margin."""
    values = np.random.default_rng(0).standard_normal((4, 100)).astype(np.float32)
    assert _pool(values * np.float32(1.01), values, values.astype(np.float64)).result().noise_ratio > 10_000


def test_wrong_scores_beside_large_boxes_show_in_their_slice() -> None:
    """Scores wrong by 1e-3 hide in the rms of boxes up to 640, not in their own slice."""
    generator = np.random.default_rng(0)
    exact = np.concatenate([generator.uniform(0, 640, (50, 4)), generator.uniform(0, 1, (50, 1))], axis=1)
    torch32 = (exact * (1 + generator.uniform(-1, 1, exact.shape) * 3 * EPS32)).astype(np.float32)
    wrong = torch32.copy()
    wrong[:, 4] += 1e-3
    result = _pool(wrong, torch32, exact).result()
    assert result.noise_ratio < NOISE_LIMIT
    assert result.slice_ratio > 16
    assert result.worst_slice == "axis 1, index 4"


def test_a_lucky_torch32_is_no_floor() -> None:
    """Where torch32 happens to be exact, the floor is eps32 of the reference, not zero."""
    exact = np.ones((2, 4))
    off_by_one_eps = np.full((2, 4), 1 + EPS32, dtype=np.float32)
    assert _pool(off_by_one_eps, np.ones((2, 4), dtype=np.float32), exact).result().noise_ratio == pytest.approx(1.0)


def test_infinite_elements_of_torch32_are_left_out() -> None:
    """Elements that overflow in float32 itself are not compared."""
    torch32 = np.array([[1.0, np.inf]], dtype=np.float32)
    result = _pool(torch32, torch32, np.array([[1.0, 1e300]])).result()
    assert result.noise_ratio == 0.0
    assert result.num_elements == 1


@given(arrays(np.int64, (3, 5), elements=st.integers(-5, 5)), st.integers(0, 14))
def test_one_wrong_integer_fails_unless_float64_differs_too(values: np.ndarray, place: int) -> None:
    """An integer may differ from torch32's only where torch32 and float64 disagree."""
    wrong = values.copy()
    wrong.flat[place] += 1
    for float64, passes in ((values, False), (wrong, True)):
        pool = ExactPool("range")
        pool.add(OutputRuns(onnx=[wrong], torch32=values, perturbed=[], float64=float64, batch_axis=0))
        assert (pool.result().noise_ratio <= NOISE_LIMIT) is passes


def test_ratio_of_nothing_by_nothing_is_zero_and_nan_stays() -> None:
    """0/0 is no error; NaN is never hidden."""
    assert ratio(0.0, 0.0) == 0.0
    assert ratio(1.0, 0.0) == math.inf
    assert math.isnan(ratio(math.nan, 1.0))
    assert rms(np.array([])) == 0.0


def test_the_floor_is_that_of_the_outputs_own_dtype() -> None:
    """An error of one rounding of float32 is nothing in float16, and half a billion roundings in float64."""
    exact = np.random.default_rng(0).standard_normal((4, 100))
    wrong = exact * (1 + EPS32)
    ratios = [
        _pool(wrong.astype(d), exact.astype(d), exact).result().noise_ratio for d in ("float16", "float32", "float64")
    ]
    assert ratios[0] < 1.0 < ratios[1] < NOISE_LIMIT < 1e8 < ratios[2]
