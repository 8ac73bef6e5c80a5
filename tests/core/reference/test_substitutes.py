"""Answers that need no float64 run are as good, or are not given."""

import numpy as np

from tasks.core.inputs.probes import Probe
from tasks.core.reference.substitutes import from_rows, mean_of_runs

FIRST, SECOND = (Probe(family="normal", seed=seed, sizes={"batch": 2}) for seed in (1, 2))
BOTH = Probe(family="normal", seed=3, sizes={"batch": 3}, rows=((SECOND, 1), (SECOND, 0), (FIRST, 1)))
EXACT = {FIRST.key: np.array([[1.0, 2.0], [3.0, 4.0]]), SECOND.key: np.array([[5.0, 6.0], [7.0, 8.0]])}
TOGETHER = np.array([[7.0, 8.0], [5.0, 6.0], [3.0, 4.0]])


def _rounded(scale: float = 1e-7, together: np.ndarray = TOGETHER) -> dict[tuple[object, ...], np.ndarray]:
    answers = {**EXACT, BOTH.key: together}
    return {key: (array * (1 + scale)).astype(np.float32) for key, array in answers.items()}


def _from_rows(float32: dict[tuple[object, ...], np.ndarray]) -> list[np.ndarray] | None:
    return from_rows(BOTH, "batch", float32=lambda p: [float32[p.key]], float64=lambda p: [EXACT[p.key]])


def test_rows_of_other_probes_stand_in_their_order() -> None:
    """Each row from the probe and the place that it was taken from."""
    found = _from_rows(_rounded())
    assert found is not None
    assert np.array_equal(found[0], TOGETHER)


def test_rows_that_depend_on_each_other_give_nothing() -> None:
    """The module's own float32 answer to the whole batch is then farther off than those to the parts."""
    assert _from_rows(_rounded(together=TOGETHER + 1e-3)) is None


def test_an_output_without_rows_gives_nothing() -> None:
    """A sum over the batch, say."""
    answers = {**_rounded(), BOTH.key: np.zeros(2, np.float32)}
    assert _from_rows(answers) is None


def test_the_mean_of_runs_is_nearer_than_one() -> None:
    """In float64; integers stay torch32's, runs of another shape are left out."""
    generator = np.random.default_rng(0)
    exact = generator.standard_normal(1000)
    runs = [[(exact + 1e-3 * generator.standard_normal(1000)).astype(np.float32), np.arange(3)] for _ in range(5)]
    mean, integers = mean_of_runs(runs[0], [*runs[1:], [np.zeros(2, np.float32), np.arange(3)]])
    assert mean.dtype == np.float64
    assert np.abs(mean - exact).mean() < 0.6 * np.abs(runs[0][0] - exact).mean()
    assert integers is runs[0][1]
