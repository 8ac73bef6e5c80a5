"""`Family`: what Assay asks of a family of models. What a family does not say, the base answers for it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tasks.core.errors import SpecError
from tasks.core.network.hub import HubWeights
from tasks.core.records.preprocessing import Preprocessing
from tasks.core.records.record import Record

if TYPE_CHECKING:
    from torch import nn

Exporter = Literal["dynamo", "torchscript"]


class NamedWeights(Record):
    """Weights that a family names: where they are."""

    origin: str
    """What is recorded of them, e.g. `ResNet18_Weights.IMAGENET1K_V1`."""
    location: str | Path | HubWeights
    """URL, with the first digits of the SHA-256 as `#sha256=HEX` or in the file's name; path of a local file; or on the
    hub, where the commit joins the origin."""
    folder: Path | None = None
    """Where the family's own library keeps its downloads; None: Assay's cache."""
    folder_variable: str = ""
    """Environment variable that moves `folder`."""
    arguments: dict[str, Any] = {}
    """Arguments with which the factory loads them from there itself; empty: Assay does."""
    path_argument: str = ""
    """A further one, which is given the path of the verified local file."""
    preprocessing: Preprocessing = Preprocessing()
    """What they were trained on, as far as the family knows."""


class Family(ABC):
    """A family of models. `model` is always a MODEL text that it recognises (or a live module, if it takes those)."""

    name: str
    """Its name in sentences; also the kind of weights that it names."""
    syntax: str
    """How its MODEL texts look, for help."""
    packages: tuple[str, ...] = ()
    """Distributions whose versions decide what a model of the family is."""
    names_weights = False
    """Whether weights may be given by a name of the family's own."""
    chooses_outputs = False
    """Whether files have only some of the tensors that forward returns, where nobody chooses."""
    has_known_sizes = False
    """Whether its code is known to go the same way at all sizes that its inputs allow, so that nobody need look."""

    @abstractmethod
    def recognises(self, model: object) -> bool:
        """Tell by its form, without importing anything, whether a model is one of this family."""

    @abstractmethod
    def fields(self, model: Any) -> dict[str, Any]:
        """Fields of ExportSpec where nothing else is given: at least `name`; `model` in a form that holds anywhere.

        Without `weights` among them a user must say which.

        Raises:
            SpecError: the text is incomplete.
        """

    def pinned(self, model: Any) -> dict[str, Any]:
        """Fields that only a server or files can tell, over those of `fields`; a `model` that means the same for good.

        Raises:
            SpecError: there is no such model.
            ServiceError: the server can't be reached.
        """
        return {}

    @abstractmethod
    def factory(self, model: Any) -> "Callable[..., nn.Module]":
        """Find the callable that makes the module; without a download.

        Raises:
            SpecError, ModelError: there is none, or importing it raises.
        """

    def text_of(self, model: Any) -> str:
        """A MODEL text as it is recorded: the same on every machine, so without folders."""
        return str(model).rpartition("/")[2]

    def tasks(self) -> tuple[str, ...]:
        """What `--task` may name, one of which the factory then takes as `task`; empty: it has no choice."""
        return ()

    def names(self) -> tuple[str, ...]:
        """List all MODEL texts of the family, without importing PyTorch; empty: nobody can."""
        return ()

    def lists(self, model: str) -> bool:
        """Is a MODEL text one of `names`, or may it be a model though nobody can list it?"""
        return not (names := self.names()) or model in names

    def has_weights(self, model: str) -> bool:
        """Are there weights that a MODEL text means where nobody names others, here or to be fetched?"""
        return self.names_weights

    def has_weights_here(self, model: str) -> bool:
        """Is no download needed for the weights that a MODEL text means where nobody names others?"""
        return False

    def file_of(self, model: Any) -> Path | None:
        """The file that a model names, there or not; None: it names none."""
        return None

    def source_files(self, model: Any) -> tuple[Path, ...]:
        """Files, besides Python code and weights, whose content decides what the module is or what is said of it."""
        return ()

    def weights(self, model: str, weights: str) -> NamedWeights:
        """Find the weights of a name; only asked where `names_weights`.

        Args:
            model: MODEL text.
            weights: name of the weights, e.g. `DEFAULT`.

        Raises:
            WeightsError: the model has none of this name.
        """
        raise NotImplementedError

    def fixes_weights(self, model: str) -> bool:
        """Does a name of weights mean the same tensors while the model's text and versions of `packages` are equal?"""
        return False

    def own_weights(self, model: str) -> Path | None:
        """The file or folder that a name of weights means, where that is told without PyTorch."""
        return None

    def check_trust(self, model: Any, *, trusted: bool) -> None:
        """Check that a model brings no code of its own, or that it is trusted.

        Args:
            model: MODEL text.
            trusted: `--trust-remote-code` was given.

        Raises:
            SpecError: there is code that nobody trusts, or trust in a model that has none beside its own.
        """
        if trusted:
            raise SpecError(f"--trust-remote-code is for models of transformers (hf:), {model} is none; leave it out.")

    def name_of_file(self, model: str, file: str, sha256: str) -> str:
        """The name of the model's weights that a file is; empty: none of the family's own.

        Args:
            model: MODEL text.
            file: base name of the file.
            sha256: of its bytes, 64 hex digits.
        """
        return ""

    def loading(self, named: NamedWeights, read: Callable[[], Mapping[str, Any]]) -> AbstractContextManager[None]:
        """Within this context a factory that is given `named.arguments` loads these tensors.

        Args:
            named: as `weights` gives it.
            read: gives the tensors of the verified file, by key.
        """
        return nullcontext()

    def input_names(self, module: "nn.Module") -> tuple[str, ...]:
        """Names in the file of the inputs that `default_inputs` gives; empty: as these have them."""
        return ()

    def loading_notes(self, module: "nn.Module") -> tuple[str, ...]:
        """What a reader should know of how the factory loaded this module."""
        return ()

    def preprocessing(self, model: Any, module: "nn.Module") -> Preprocessing:
        """What the model was trained to see and to tell, as far as its own files say it.

        Args:
            model: MODEL text.
            module: what the factory made.
        """
        return Preprocessing()

    def usual_sizes(self, model: Any, module: "nn.Module") -> dict[str, int]:
        """Sizes to trace at, by name of a dynamic dimension, e.g. `height`.

        Args:
            model: MODEL text.
            module: what the factory made.
        """
        return {}

    def default_inputs(self, model: Any, module: "nn.Module", parameters: list[str]) -> tuple[str, ...]:
        """Inputs as `--input` writes them, where nobody declares any; empty: nothing says what they are.

        Args:
            model: MODEL text.
            module: what the factory made.
            parameters: names of forward's parameters, at least one.
        """
        return ()

    def kept_outputs(self, model: Any, names: Sequence[str]) -> tuple[str, ...]:
        """Of the tensors that forward returns those that the file has; only asked where `chooses_outputs`.

        Args:
            model: MODEL text.
            names: of all.
        """
        return tuple(names)

    def stand_ins(self, module: "nn.Module") -> "Iterator[tuple[str, nn.Module]]":
        """Modules that compute the same, to export where this one does not, each with what is different about it.

        The file is held against `module` all the same.

        Args:
            module: what the factory made; stays as it is.
        """
        yield from ()

    def exporter_order(self, model: Any) -> tuple[tuple[Exporter, ...], str]:
        """The exporters to try in turn, and why the first one is first."""
        return ("dynamo", "torchscript"), "own code: keeps control flow that tracing would freeze"

    def gflop(self, model: Any) -> float:
        """About how much arithmetic a run takes, in GFLOP; 0 where nothing says it."""
        return 0.0
