"""The arithmetic that every figure of a proof rests on."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.arrays import EPS32, eps_of, least_of, magnitudes, ratio, rms

POSITIVE = st.floats(min_value=1e-300, max_value=1e300)


@given(POSITIVE, POSITIVE)
def test_a_ratio_is_a_quotient(value: float, floor: float) -> None:
    """Above a positive floor it is the plain quotient."""
    assert ratio(value, floor) == value / floor


@pytest.mark.parametrize(
    ("value", "floor", "expected"),
    [(0.0, 0.0, 0.0), (1.0, 0.0, math.inf), (math.inf, 0.0, math.inf), (0.0, 1.0, 0.0)],
)
def test_over_nothing_only_nothing_is_small(value: float, floor: float, expected: float) -> None:
    """Without a floor an error of any size is infinite, and none is 0."""
    assert ratio(value, floor) == expected


@pytest.mark.parametrize(("value", "floor"), [(math.nan, 1.0), (math.nan, 0.0), (1.0, math.nan)])
def test_nan_stays_nan(value: float, floor: float) -> None:
    """So that no comparison with a limit holds."""
    assert math.isnan(ratio(value, floor))
    assert not ratio(value, floor) <= 8.0


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=50), st.integers(-10, 10))
def test_rms_follows_the_scale(values: list[float], exponent: int) -> None:
    """It lies between the smallest and largest magnitude, and scales with the values."""
    array = np.array(values)
    magnitudes = np.abs(array)
    assert magnitudes.min() * (1 - 1e-12) <= rms(array) <= magnitudes.max() * (1 + 1e-12)
    assert rms(array * 2.0**exponent) == pytest.approx(rms(array) * 2.0**exponent)


def test_rms_is_over_finite_elements_in_float64() -> None:
    """NaN and infinity are left out, nothing at all is 0, and large float16 or int32 values do not overflow."""
    assert rms(np.array([3.0, math.nan, math.inf, -3.0])) == 3.0
    assert rms(np.array([])) == rms(np.array([math.nan])) == 0.0
    assert rms(np.array([60000.0, 60000.0], dtype=np.float16)) == pytest.approx(60000.0, rel=1e-3)
    assert rms(np.array([2**31 - 1] * 2, dtype=np.int32)) == 2.0**31 - 1
    assert rms(np.array([True, False, False, False])) == 0.5


def test_eps32_is_the_spacing_of_float32_at_one() -> None:
    """The floor of every noise ratio."""
    assert EPS32 == 2.0**-23


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_the_spacing_of_a_dtype_is_the_one_that_pytorch_names(dtype: torch.dtype) -> None:
    """PyTorch's dtypes and NumPy's are known alike."""
    assert eps_of(dtype) == torch.finfo(dtype).eps
    if dtype != torch.bfloat16:
        assert eps_of(torch.empty(0, dtype=dtype).numpy().dtype) == torch.finfo(dtype).eps


def test_orders_of_magnitude_begin_with_their_least_size() -> None:
    """Powers of two are exact; zeros are in the first, with what is too small to have one of its own."""
    values = np.array([0.0, 5e-324, 1e-300, -0.75, 1.0, 2.0, -3e4, np.finfo(np.float64).max])
    numbers = magnitudes(values)
    assert numbers[:2].tolist() == [0, 0]
    assert numbers[4] < numbers[5]
    for value, number in zip(np.abs(values[2:]), numbers[2:], strict=True):
        assert least_of(int(number)) <= value < least_of(int(number)) * 256
