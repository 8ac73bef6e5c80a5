"""Entries of the store that several processes write at the same moment: tags of an experiment, aliases of a model."""

from collections.abc import Callable

from mlflow.exceptions import MlflowException


def write_shared(write: Callable[..., object], *arguments: str) -> None:
    """Write an entry that another process may be adding right now.

    Of two that add the same entry at once MLflow's store lets one fail; a second try finds it there and replaces it.

    Args:
        write: method of MLflow's client; what it raises the second time is raised.
        arguments: of it.
    """
    try:
        write(*arguments)
    except MlflowException:
        write(*arguments)
