"""`Source`: what Assay asks of a source of weights."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Protocol

from tasks.core.records.steps import Weights

Fetch = Callable[[str], Path]
"""Gives the local file of a `runs:/` or `models:/` URI."""


class Asked(Protocol):
    """The part of a spec that says which weights."""

    @property
    def model(self) -> Any:
        """MODEL text, or a live module."""

    @property
    def weights(self) -> Any:
        """What `--weights` says, or a state_dict."""


class Source(ABC):
    """Weights that were asked for, of one kind."""

    syntax: ClassVar[str] = ""
    """How `--weights` takes it; empty: not as such."""

    def __init__(self, asked: Asked) -> None:
        self.model, self.weights = asked.model, asked.weights

    @property
    @abstractmethod
    def kind(self) -> str:
        """The name under which it is recorded."""

    @staticmethod
    @abstractmethod
    def recognises(asked: Asked) -> bool:
        """Tell by its form whether this is such a source; no source before it in `SOURCES` took it."""

    def settled(self) -> Any:
        """The text in a form that holds in any working directory."""
        return self.weights

    def check(self) -> None:  # noqa: B027  # most have nothing to check
        """See what can be seen without reading or fetching.

        Raises:
            SpecError, WeightsError: it names nothing.
        """

    @abstractmethod
    def find(self, fetch_from_mlflow: Fetch) -> Weights:
        """Find, fetch and verify the weights, as a local file if they have one.

        Raises:
            SpecError: the text can't be understood.
            WeightsError: their hash or format is wrong, or there is no such file.
            ServiceError: a host could not be reached.
        """

    def is_same(self, file_hash: str | None) -> bool:
        """Tell without reading tensors or a network whether the weights are beyond doubt those of an earlier export.

        Args:
            file_hash: SHA-256 of the file that the earlier export read; None: it read none.
        """
        return False
