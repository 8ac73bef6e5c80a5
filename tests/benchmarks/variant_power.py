"""How often a variant passes, by its true loss: simulated flips, judged as an evaluation with labels is.

python tests/benchmarks/variant_power.py [--trials N]
"""

import argparse
import functools

import numpy as np

from tasks.core.variants.statistics import paired_interval

BUDGET = 0.01
LOSSES = (0.0, 0.0025, 0.005, 0.01, 0.02)
NUM_SAMPLES = (300, 1000, 10_000)
FLIPS = (0.0, 0.01, 0.04)
"""Samples that flip besides, half of them for the better."""


def false_passes(*, loss: float, flips: float, num_samples: int, num_trials: int) -> tuple[float, float]:
    """Shares of trials that pass and that fail.

    Args:
        loss: the true one.
        flips: share of samples that flip besides.
        num_samples: of a trial.
        num_trials: with seeds of their own.
    """
    generator = np.random.default_rng((int(1e4 * loss), int(1e4 * flips), num_samples))
    shares = (loss + flips / 2, flips / 2, 1 - loss - flips)
    interval = functools.cache(functools.partial(paired_interval, num_samples=num_samples))
    drawn = generator.multinomial(num_samples, shares, size=num_trials)
    ends = [interval(int(worse), int(better)) for worse, better, _ in drawn]
    return float(np.mean([high <= BUDGET for _, high in ends])), float(np.mean([low > BUDGET for low, _ in ends]))


def main() -> None:
    """Print the table of docs/variants.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    num_trials = parser.parse_args().trials
    print("| true loss | flips besides | " + " | ".join(f"{n:,} samples" for n in NUM_SAMPLES) + " |")
    print("|---|---|" + "---|" * len(NUM_SAMPLES))
    for loss in LOSSES:
        for flips in FLIPS:
            found = [false_passes(loss=loss, flips=flips, num_samples=n, num_trials=num_trials) for n in NUM_SAMPLES]
            cells = " | ".join(f"{passed:.1%} / {failed:.1%}" for passed, failed in found)
            print(f"| {loss:.2%} | {flips:.0%} | {cells} |")


if __name__ == "__main__":
    main()
