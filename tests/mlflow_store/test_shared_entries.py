"""Processes that write the same entry of the store at the same moment do not fail each other."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import mlflow
import pytest
from mlflow.exceptions import MlflowException

from tasks.mlflow_store.shared_entries import write_shared

TOGETHER = 4


def test_all_who_add_the_same_entry_succeed(own_store: mlflow.MlflowClient) -> None:
    """Each entry is new, so that each round is a race; without the second try it is lost within a few rounds."""
    experiment = own_store.create_experiment("raced")
    barrier = Barrier(TOGETHER)

    def add(who: int) -> None:
        for round_number in range(20):
            barrier.wait(20)
            write_shared(own_store.set_experiment_tag, experiment, f"key{round_number}", str(who))

    with ThreadPoolExecutor(TOGETHER) as pool:
        list(pool.map(add, range(TOGETHER)))
    assert len(own_store.get_experiment(experiment).tags) == 20


def test_what_fails_twice_is_raised(own_store: mlflow.MlflowClient) -> None:
    """A store that refuses the entry itself is not asked for ever."""
    with pytest.raises(MlflowException, match="99"):
        write_shared(own_store.set_experiment_tag, "99", "key", "value")
