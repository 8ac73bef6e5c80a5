"""A step is timed and logged, its records are kept, and what it holds is let go when its attempt ends."""

import contextlib
import logging
from collections.abc import Iterator

import pytest
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES

from tasks.core.provenance.attempts import Attempt
from tasks.core.records.steps import Weights
from tasks.core.spec.export_spec import ResolvedSpec
from tasks.step import expect_little, expecting, recorded, step

WEIGHTS = Weights(kind="random", origin="random:0", seed=0)
pytestmark = pytest.mark.usefixtures("store", "prefect_server")


def attempt() -> Attempt:
    """One that has just begun."""
    return Attempt(ResolvedSpec(model="resnet18", name="resnet18", weights="random"))


def test_a_step_leaves_its_records_and_its_seconds(assay_log: list[logging.LogRecord]) -> None:
    """The attempt under way gets both; the log says what the step gave, in a record that displays can read."""

    @step(seconds=60, says=lambda weights: weights.origin, keeps=lambda weights: {"weights": weights})
    def fetch(seed: int) -> Weights:
        return WEIGHTS.model_copy(update={"seed": seed})

    begun = attempt()
    with recorded(begun):
        assert fetch(0) == WEIGHTS
    assert begun.weights == WEIGHTS
    assert list(begun.seconds) == ["fetch"]
    started, ended = (record for record in assay_log if getattr(record, "step", "") == "fetch")
    assert not hasattr(started, "seconds")
    assert (ended.getMessage(), ended.seconds) == ("fetch: random:0", begun.seconds["fetch"])


def test_what_a_step_holds_outlives_it() -> None:
    """A reservation made for a step stays until the attempt ends, well or not."""
    held: list[str] = []

    @contextlib.contextmanager
    def reservation(name: str) -> Iterator[None]:
        held.append(name)
        try:
            yield
        finally:
            held.remove(name)

    @step(seconds=60, says=str, holds=reservation)
    def export(name: str) -> str:
        return name

    with pytest.raises(ValueError, match="later"), recorded(attempt()):  # noqa: PT012
        export("memory")
        assert held == ["memory"]
        raise ValueError("later")
    assert not held


def test_a_step_needs_no_attempt() -> None:
    """Called by itself, it gives what it gives."""

    @step(seconds=60, says=str)
    def double(number: int) -> int:
        return 2 * number

    assert double(2) == 4


def test_a_server_that_failed_is_expected_little_of_for_as_long_as_the_attempt_lasts() -> None:
    """Whoever calls an export from Python keeps the settings that were there."""
    before = PREFECT_CLIENT_MAX_RETRIES.value()
    expect_little(0)
    assert PREFECT_CLIENT_MAX_RETRIES.value() == before
    with expecting():
        expect_little(1)
        expect_little(2)
        assert PREFECT_CLIENT_MAX_RETRIES.value() == 1
    assert PREFECT_CLIENT_MAX_RETRIES.value() == before
