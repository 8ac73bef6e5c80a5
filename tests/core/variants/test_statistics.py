"""The intervals hold what they promise, at few samples, too."""

import functools

import numpy as np
import pytest
from scipy.stats import norm

from tasks.core.variants.statistics import (
    flips_p_value,
    mean_interval,
    num_deciding,
    paired_interval,
    share_interval,
)
from tests.benchmarks.variant_power import false_passes


@pytest.mark.parametrize(("worse", "better", "n"), [(0, 0, 100), (3, 1, 450), (7, 7, 1000), (20, 0, 10_000), (5, 0, 5)])
def test_the_ends_solve_the_score_equation(worse: int, better: int, n: int) -> None:
    """At large counts it is Wald's interval; exchanging worse and better mirrors it; it holds what was found."""
    low, high = paired_interval(worse, better, n)
    assert low <= (worse - better) / n <= high
    assert paired_interval(better, worse, n) == pytest.approx((-high, -low), abs=1e-9)
    many = 10_000
    low, high = paired_interval(worse * many, better * many, n * many)
    found = (worse - better) / n
    reach = norm.ppf(0.975) * np.sqrt(((worse + better) / n - found**2) / (n * many))
    assert (low, high) == pytest.approx((found - reach, found + reach), abs=3e-4)


@pytest.mark.parametrize("loss", [0.01, 0.02])
@pytest.mark.parametrize("num_samples", [300, 1000])
def test_what_loses_more_than_the_budget_rarely_passes(loss: float, num_samples: int) -> None:
    """At a true loss of the budget or twice of it, at most one of twenty passes, whatever else flips."""
    for flips in (0.0, 0.01, 0.04):
        passed, _ = false_passes(loss=loss, flips=flips, num_samples=num_samples, num_trials=400)
        assert passed <= 0.05


def test_no_flip_says_nothing_of_few_samples() -> None:
    """Without any flip 100 samples allow 3.7 %, and about 400 are needed for 1 %."""
    assert paired_interval(0, 0, 100)[1] == pytest.approx(0.037, abs=0.001)
    interval = functools.partial(paired_interval, 0, 0)
    assert num_deciding(interval, num_samples=100, budget=0.01) == pytest.approx(381, abs=10)


def test_exact_figures() -> None:
    """A share of none, McNemar's test of few flips, a mean of nothing but zeros."""
    assert share_interval(0, 300)[1] == pytest.approx(1 - 0.025 ** (1 / 300))
    assert flips_p_value(5, 0) == pytest.approx(2 / 32)
    assert flips_p_value(0, 0) == 1
    assert mean_interval(np.zeros(100)) == (0.0, pytest.approx(0.03))
    assert mean_interval(np.full(1, 0.5))[1] == np.inf
