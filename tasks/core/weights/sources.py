"""Sources of weights: one class each says how its text is recognised, checked and fetched. Needs no PyTorch to tell.

A further source is one more class here, and its name in `SOURCES`.
"""

import re
from pathlib import Path

from tasks.core.errors import WeightsError
from tasks.core.families.registry import family_of
from tasks.core.hashes import file_sha256
from tasks.core.records.steps import Weights
from tasks.core.weights.download import fetch_to_cache, fetch_to_file
from tasks.core.weights.reading import from_download, from_file, memory_sha256
from tasks.core.weights.source import Asked, Fetch, Source
from tasks.core.weights.urls import mirrored, split_url, without_query

FILE_SUFFIXES = (".pth", ".pt", ".pt2", ".safetensors", ".ckpt", ".bin", ".tar")


class _StateDict(Source):
    """Tensors in memory."""

    kind = "state_dict"

    @staticmethod
    def recognises(asked: Asked) -> bool:
        return not isinstance(asked.weights, str)

    def find(self, fetch_from_mlflow: Fetch) -> Weights:
        return Weights(kind=self.kind, origin="in memory", tensors_sha256=memory_sha256(self.weights))


class _AsBuilt(Source):
    """What the model's own code loads."""

    kind, syntax = "as-built", "as-built"

    @staticmethod
    def recognises(asked: Asked) -> bool:
        return bool(asked.weights == "as-built")

    def find(self, fetch_from_mlflow: Fetch) -> Weights:
        """There is nothing to find before the module is built."""
        return Weights(kind=self.kind, origin="as built by the model's own code")


class _Random(Source):
    """Random weights, the same for a seed in every process."""

    kind, syntax = "random", "random[:SEED]"

    @staticmethod
    def recognises(asked: Asked) -> bool:
        return bool(asked.weights == "random") or asked.weights.startswith("random:")

    @property
    def seed(self) -> int:
        """Without one it is 0.

        Raises:
            WeightsError: the seed is no number.
        """
        seed = self.weights.partition(":")[2] or "0"
        if not re.fullmatch(r"\d{1,9}", seed):
            raise WeightsError(f"{self.weights!r} has no seed; write random or random:NUMBER.")
        return int(seed)

    def check(self) -> None:
        _ = self.seed

    def find(self, fetch_from_mlflow: Fetch) -> Weights:
        return Weights(kind=self.kind, origin=f"random:{self.seed}", seed=self.seed)

    def is_same(self, file_hash: str | None) -> bool:
        return True


class _MLflow(Source):
    """An artifact of a run, or a version of a registered model."""

    kind, syntax = "mlflow", "runs:/…, models:/…"

    @staticmethod
    def recognises(asked: Asked) -> bool:
        return bool(asked.weights.startswith(("runs:/", "models:/")))

    def find(self, fetch_from_mlflow: Fetch) -> Weights:
        return from_file(fetch_from_mlflow(self.weights), kind=self.kind, origin=self.weights)


class _Url(Source):
    """A file on a web server."""

    kind, syntax = "url", "a URL"

    @staticmethod
    def recognises(asked: Asked) -> bool:
        return bool(asked.weights.startswith(("http://", "https://")))

    def check(self) -> None:
        split_url(self.weights)

    def find(self, fetch_from_mlflow: Fetch) -> Weights:
        expected = split_url(self.weights)[2]
        way_out = "give a local file with --weights FILE, or set ASSAY_WEIGHTS_MIRROR to a mirror"
        path, _ = fetch_to_cache(self.weights, expected=expected, way_out=way_out)
        return from_download(path, kind=self.kind, origin=without_query(self.weights))

    def is_same(self, file_hash: str | None) -> bool:
        """One that states its hash says so itself."""
        expected = split_url(self.weights)[2]
        return bool(expected and file_hash and file_hash.startswith(expected))


class _NamedByFamily(Source):
    """Weights that the model's family has a name for, as `DEFAULT`."""

    @property
    def kind(self) -> str:
        return family_of(self.model).name

    @staticmethod
    def recognises(asked: Asked) -> bool:
        text = asked.weights
        looks_like_file = "/" in text or Path(text).suffix.lower() in FILE_SUFFIXES or Path(text).is_file()
        return family_of(asked.model).names_weights and not looks_like_file

    def check(self) -> None:
        family_of(self.model).weights(self.model, self.weights)

    def find(self, fetch_from_mlflow: Fetch) -> Weights:
        named = family_of(self.model).weights(self.model, self.weights)
        if not named.location.startswith(("http://", "https://")):
            return from_file(Path(named.location), kind=self.kind, origin=named.origin)
        _, file_name, expected = split_url(named.location)
        mirror = f"set ASSAY_WEIGHTS_MIRROR to a mirror (asked: {without_query(mirrored(named.location))})"
        if named.folder is None:
            way_out = f"give a local file with --weights FILE, or {mirror}"
            path, _ = fetch_to_cache(named.location, expected=expected, way_out=way_out)
        else:
            path = named.folder / file_name
            way_out = f"give a local file with --weights FILE, {mirror}, or put {file_name} into {named.folder}"
            fetch_to_file(named.location, path, expected=expected, way_out=way_out, variable=named.folder_variable)
        return from_download(path, kind=self.kind, origin=named.origin)

    def is_same(self, file_hash: str | None) -> bool:
        """As the family says: a member of an equal torchvision's enum stays what it is."""
        return family_of(self.model).fixes_weights


class _File(Source):
    """A local file; takes any text."""

    kind, syntax = "file", "a file"

    @staticmethod
    def recognises(asked: Asked) -> bool:
        return True

    @property
    def path(self) -> Path:
        """Absolute, and not resolved: a link's own name is the one that was asked for."""
        return Path(self.weights).expanduser().absolute()

    def settled(self) -> str:
        return str(self.path)

    def check(self) -> None:
        if not self.path.is_file():
            raise WeightsError(f"There is no weights file {self.path}; --weights takes {WEIGHTS_CHOICES}.")

    def find(self, fetch_from_mlflow: Fetch) -> Weights:
        self.check()
        return from_file(self.path, kind=self.kind, origin=self.path.name)

    def is_same(self, file_hash: str | None) -> bool:
        return file_hash is not None and self.path.is_file() and file_sha256(self.path) == file_hash


SOURCES: tuple[type[Source], ...] = (_StateDict, _AsBuilt, _Random, _MLflow, _Url, _NamedByFamily, _File)
"""In the order in which they are asked."""
_SYNTAXES = [source.syntax for source in reversed(SOURCES) if source.syntax]
WEIGHTS_CHOICES = f"{', '.join(_SYNTAXES[:-1])} or {_SYNTAXES[-1]}"
"""What `--weights` takes for any model, in words."""


def source_of(asked: Asked) -> Source:
    """Find the source of the weights that a spec asks for."""
    return next(source for source in SOURCES if source.recognises(asked))(asked)
