"""Models on Hugging Face's hub: files of one commit, in the cache of its own library, fetched if they are not there."""

import functools
import importlib.util
import re
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from tasks.core.errors import ServiceError, SpecError, some
from tasks.core.hashes import file_sha256
from tasks.core.network.hub_client import PATIENCE_SECONDS, endpoint, prepare_client, progress_bar, shown_endpoint
from tasks.core.network.hub_refusals import not_cached, refusal
from tasks.core.records.record import Record

_MODEL = re.compile(r"(?P<repo>\w[\w.-]*/\w[\w.-]*)(@(?P<revision>[\w.][\w./-]*))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SAFE = ("model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors")
_PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-*-of-*.bin")
"""Names of weights, and of what is taken where there are none of the first kind."""


class HubModel(Record):
    """A model of the hub, at some revision."""

    repo: str
    """ORG/NAME."""
    revision: str = "main"
    """Branch, tag or commit; a commit is always the same files."""

    @property
    def is_commit(self) -> bool:
        """Does the revision name one commit for good?"""
        return _COMMIT.fullmatch(self.revision) is not None

    def __str__(self) -> str:
        return f"{self.repo}@{self.revision}"


class HubWeights(Record):
    """Weights in a model of the hub."""

    model: HubModel
    files: tuple[str, ...] = ()
    """Paths inside the repository, of which the first that is there is meant; empty: by their usual names."""
    folders: tuple[str, ...] = ("",)
    """Of the repository, each with weights of its own, ending in `/`; empty text: itself."""
    beside: tuple[str, ...] = ()
    """Globs of files that are fetched with them."""

    def inside(self, folder: Path) -> Path:
        """Of what `fetch_weights` gave, the file that is meant, or the folder that holds it."""
        return next((folder / name for name in self.files if (folder / name).is_file()), folder)


def hub_model(text: str) -> HubModel | None:
    """The model that `ORG/NAME[@REVISION]` names; None for any other text."""
    found = _MODEL.fullmatch(text)
    return HubModel(repo=found["repo"], revision=found["revision"] or "main") if found else None


def fetch_files(model: HubModel, patterns: Sequence[str]) -> Path:
    """The folder of a commit in the cache, with those of its files that fit a pattern; named by the commit.

    What is there is not fetched again, and of a commit not asked for.

    Args:
        model: at any revision.
        patterns: globs of paths inside the repository.

    Raises:
        SpecError: there is no such model or revision, or it is not for everybody.
        ServiceError: the hub can't be reached, sends damaged files, or may not be asked and the cache lacks some.
    """
    import httpx2
    from huggingface_hub import HfApi, constants, snapshot_download

    prepare_client()
    asked: dict[str, Any] = {"repo_id": model.repo, "revision": model.revision, "allow_patterns": list(patterns)}
    asked |= {"cache_dir": constants.HF_HUB_CACHE, "endpoint": endpoint()}
    try:
        if constants.is_offline_mode():
            return _cached_only(asked)
        if model.is_commit and (folder := _cached(asked)):
            return folder
        # the library takes what it has where nobody answers: here that is said
        HfApi(endpoint=endpoint()).model_info(model.repo, revision=model.revision, timeout=PATIENCE_SECONDS)
        folder = Path(snapshot_download(**asked, tqdm_class=progress_bar()))
    except (OSError, ValueError, KeyError, TypeError, httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise refusal(error, model.repo, model.revision) from error
    _check(model, folder, patterns)
    return folder


def fetch_weights(weights: HubWeights) -> Path:
    """The folder of a commit in the cache, with weights: safetensors, or else what `torch.save` wrote.

    Args:
        weights: of a model at any revision.

    Raises:
        SpecError, ServiceError: as `fetch_files`; or it has no weights.
    """
    model = weights.model
    for name in weights.files:
        folder = fetch_files(model, [name])
        if (folder / name).is_file():
            return folder
    if weights.files:
        raise lacks(model, some(list(weights.files)))
    for inside in weights.folders:
        folder = fetch_files(model, [*(inside + name for name in _SAFE), *weights.beside])
        model = HubModel(repo=model.repo, revision=folder.name)
        if not any((folder / inside).glob("*.safetensors")):
            fetch_files(model, [inside + name for name in _PICKLED])
    if not any((*folder.rglob("*.safetensors"), *folder.rglob("*.bin"))):
        raise lacks(weights.model, "weights (model.safetensors or pytorch_model.bin)")
    return folder


def cached_models() -> frozenset[str]:
    """ORG/NAME of the models whose weights are in the cache, at some commit; none without the hub's library."""
    if importlib.util.find_spec("huggingface_hub") is None:
        return frozenset()
    from huggingface_hub import constants

    return _models_in(Path(constants.HF_HUB_CACHE))


@functools.cache
def _models_in(cache: Path) -> frozenset[str]:
    files = (*cache.glob("models--*/snapshots/*/*.safetensors"), *cache.glob("models--*/snapshots/*/*.bin"))
    return frozenset(file.parents[2].name.removeprefix("models--").replace("--", "/") for file in files)


def require_file(model: HubModel, folder: Path, name: str) -> None:
    """Check that a folder of the cache has a file; raises as `lacks` says.

    Args:
        model: whose folder it is.
        folder: as `fetch_files` gave it.
        name: of the file.
    """
    if not (folder / name).is_file():
        raise lacks(model, name)


def lacks(model: HubModel, what: str) -> SpecError | ServiceError:
    """The error about something that a model has not; a ServiceError where nobody may be asked.

    Args:
        model: at the revision that was asked for.
        what: it lacks, for a sentence.
    """
    from huggingface_hub import constants

    if constants.is_offline_mode():
        return not_cached(model.repo, model.revision, what)
    return SpecError(f"{model.repo} at {model.revision} has no {what} at {shown_endpoint()}; name another model.")


def _cached(asked: dict[str, Any]) -> Path | None:
    """The folder of a commit, if all that is asked for is known to be there; asks nobody."""
    from huggingface_hub import get_cached_repo_tree, snapshot_download
    from huggingface_hub.errors import CachedRepoTreeNotFoundError, LocalEntryNotFoundError

    try:
        get_cached_repo_tree(asked["repo_id"], revision=asked["revision"], cache_dir=asked["cache_dir"])
        return Path(snapshot_download(local_files_only=True, **asked))
    except (CachedRepoTreeNotFoundError, LocalEntryNotFoundError):
        return None


def _cached_only(asked: dict[str, Any]) -> Path:
    """The folder of a branch, tag or commit in the cache, where nobody may be asked; else a ServiceError."""
    from huggingface_hub import get_cached_repo_tree, snapshot_download
    from huggingface_hub.errors import IncompleteSnapshotError

    try:
        return Path(snapshot_download(local_files_only=True, **asked))
    except IncompleteSnapshotError as error:
        there = Path(error.snapshot_path)
        tree = get_cached_repo_tree(asked["repo_id"], revision=asked["revision"], cache_dir=asked["cache_dir"])
        missing = [
            entry.path
            for entry in tree
            if _fits(entry.path, asked["allow_patterns"]) and not (there / entry.path).exists()
        ]
        raise not_cached(asked["repo_id"], asked["revision"], some(missing)) from error


def _fits(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def _check(model: HubModel, folder: Path, patterns: Sequence[str]) -> None:
    """Hash what was fetched, where its SHA-256 is known: the library looks at sizes only.

    Weights lie in the cache under the SHA-256 that the hub says, to which a snapshot links.
    """
    for path in (path for path in folder.rglob("*") if path.is_file()):
        name, blob = path.relative_to(folder).as_posix(), path.resolve()
        if not _fits(name, patterns) or not _SHA256.fullmatch(blob.name):
            continue
        if file_sha256(blob) != blob.name:
            blob.unlink()
            path.unlink(missing_ok=True)
            raise ServiceError(f"{name} of {model.repo} came damaged and was removed; fetch it again.")
