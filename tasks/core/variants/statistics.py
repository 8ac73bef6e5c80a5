"""Intervals and tests for what a variant loses on paired samples."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import binomtest, norm, t

CONFIDENCE = 0.95
MAX_DECIDING = 10_000_000
_Z = float(norm.ppf(0.5 + CONFIDENCE / 2))


def paired_interval(num_worse: int, num_better: int, num_samples: int) -> tuple[float, float]:
    """Score interval of the difference of two paired shares, `(num_worse - num_better) / num_samples`.

    It holds its confidence at small counts, too, where the normal one is a point: at no flip at all its upper end
    is about 3.8 / num_samples.

    Args:
        num_worse: samples that only the first of both gets right.
        num_better: samples that only the second gets right.
        num_samples: of all.

    Source: T. Tango, Equivalence test and confidence interval for the difference in proportions for the
    paired-sample design, Statistics in Medicine 17 (1998), equations 11 and 12.
    """
    found = (num_worse - num_better) / num_samples

    def score(difference: float) -> float:
        b = (2 * num_samples - num_worse + num_better) * difference - num_worse - num_better
        root = math.sqrt(max(b * b + 8 * num_samples * num_better * difference * (1 - difference), 0.0))
        share = (root - b) / (4 * num_samples)  # of those that get better, were this the difference
        variance = num_samples * (2 * share + difference * (1 - difference))
        return (num_samples * (found - difference)) / math.sqrt(max(variance, 1e-300))

    edge = 1e-12
    low = brentq(lambda d: score(d) - _Z, -1 + edge, found) if score(-1 + edge) > _Z and found > -1 else found
    high = brentq(lambda d: score(d) + _Z, found, 1 - edge) if score(1 - edge) < -_Z and found < 1 else found
    return float(low), float(high)


def share_interval(num_hits: int, num_samples: int) -> tuple[float, float]:
    """Exact interval of a share (Clopper and Pearson).

    Args:
        num_hits: samples that count.
        num_samples: of all.
    """
    interval = binomtest(num_hits, num_samples).proportion_ci(CONFIDENCE, method="exact")
    return float(interval.low), float(interval.high)


def mean_interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """Student's interval of a mean, at least 0 unless that is less; its upper end is at least 3 / n, as for a share.

    Args:
        values: one a sample.
    """
    mean, n = float(values.mean()), len(values)
    if n < 2:
        return 0.0, math.inf
    reach = float(t.ppf(0.5 + CONFIDENCE / 2, n - 1)) * float(values.std(ddof=1)) / math.sqrt(n)
    return max(mean - reach, min(mean, 0.0)), max(mean + reach, min(mean + 3 / n, 1.0))


def flips_p_value(num_worse: int, num_better: int) -> float:
    """McNemar's exact test that as many samples get better as get worse.

    Args:
        num_worse: samples that only the first gets right.
        num_better: samples that only the second gets right.
    """
    num_flips = num_worse + num_better
    return float(binomtest(num_worse, num_flips, 0.5).pvalue) if num_flips else 1.0


def num_deciding(interval: Callable[[int], tuple[float, float]], *, num_samples: int, budget: float) -> int | None:
    """About how many samples would decide, if they went as those seen; None: no affordable number.

    Args:
        interval: ends of the interval by number of samples.
        num_samples: seen, and undecided.
        budget: the loss that is allowed.
    """

    def decides(number: int) -> bool:
        low, high = interval(number)
        return high <= budget or low > budget

    few, many = num_samples, 2 * num_samples
    while not decides(many):
        few, many = many, 2 * many
        if many > MAX_DECIDING:
            return None
    while many - few > max(1, few // 50):
        middle = (few + many) // 2
        few, many = (few, middle) if decides(middle) else (middle, many)
    return many
