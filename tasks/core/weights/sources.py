"""Sources of weights: told apart by their text, checked, found. Needs no PyTorch to tell.

A further source is a line of `_SCHEMES` and a case of `find_weights`.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from tasks.core.errors import WeightsError
from tasks.core.families.registry import family_of
from tasks.core.network.hub import HubWeights, fetch_weights
from tasks.core.paths import near_miss
from tasks.core.records.steps import Weights
from tasks.core.syntax import WEIGHTS_CHOICES
from tasks.core.weights.download import fetch_to_cache, fetch_to_file
from tasks.core.weights.folders import WEIGHTS_SUFFIXES, weights_file, weights_files, weights_sha256
from tasks.core.weights.urls import split_part, split_url, without_query
from tasks.core.weights.verified import only_sha256, read_download, read_verified

_FILE_SUFFIXES = (*WEIGHTS_SUFFIXES, ".tar", ".pkl")
_SCHEMES = {
    "random:": "random",
    "runs:/": "mlflow",
    "models:/": "mlflow",
    "http://": "url",
    "https://": "url",
}
"""Kinds of weights, by how their text begins."""


class _Asked(Protocol):
    """The part of a spec that says which weights."""

    @property
    def model(self) -> Any: ...

    @property
    def weights(self) -> Any: ...

    @property
    def kwargs(self) -> dict[str, Any]: ...


def weights_kind(spec: _Asked) -> str:
    """Tell by its form what kind of weights a spec asks for, as `Weights.kind` has it."""
    text = spec.weights
    if not isinstance(text, str):
        return "state_dict"
    if text in ("as-built", "random"):
        return text
    for scheme, kind in _SCHEMES.items():
        if text.startswith(scheme):
            return kind
    family = family_of(spec.model)
    place = split_part(text)[0]
    looks_like_file = "/" in place or Path(place).suffix.lower() in _FILE_SUFFIXES or Path(place).is_file()
    return family.name if family.names_weights and not looks_like_file else "file"


def settled_weights(spec: _Asked) -> Any:
    """What a spec asks for, in a form that holds in any working directory."""
    return str(_absolute(spec.weights)) if weights_kind(spec) == "file" else spec.weights


def check_weights(spec: _Asked) -> None:
    """See what can be seen of a spec's weights without reading or fetching them.

    Raises:
        SpecError, WeightsError: the text names nothing.
    """
    kind = weights_kind(spec)
    if kind == "random":
        _seed(spec.weights)
    elif kind == "url":
        split_url(spec.weights)
    elif kind == "file":
        weights_files(_file(spec.weights))
    elif kind == family_of(spec.model).name:
        named = family_of(spec.model).weights(spec.model, spec.weights)
        if isinstance(named.location, Path):
            weights_files(_file(str(named.location)))


def same_weights(spec: _Asked, file_hash: str | None) -> bool:
    """Are a spec's weights beyond doubt those of an earlier export? Reads no tensors and asks no server.

    Args:
        spec: what is asked for now.
        file_hash: SHA-256 of the file that the earlier export read; None: it read none.
    """
    kind = weights_kind(spec)
    if kind == "file":
        return _has_sha256(_absolute(split_part(spec.weights)[0]), file_hash)
    if kind == "url":  # one that states its hash
        expected = split_url(spec.weights)[2]
        return bool(expected and file_hash and file_hash.startswith(expected))
    family = family_of(spec.model)
    if kind == family.name and not family.fixes_weights(spec.model):
        own = family.own_weights(spec.model)
        return own is not None and _has_sha256(own, file_hash)
    return kind == "random" or kind == family.name


def find_weights(spec: _Asked, fetch_from_mlflow: Callable[[str], Path]) -> Weights:
    """Find, fetch and verify the weights of a spec, as a local file if they have one.

    Args:
        spec: what is asked for.
        fetch_from_mlflow: gives the local file of a `runs:/` or `models:/` URI.

    Raises:
        SpecError: the text can't be understood.
        WeightsError: their hash or format is wrong, or there is no such file.
        ServiceError: a host could not be reached.
    """
    text, part = split_part(spec.weights) if isinstance(spec.weights, str) else ("", "")
    match kind := weights_kind(spec):
        case "state_dict":
            from tasks.core.weights.state_dicts import find_sets

            sets = find_sets(spec.weights, "the state_dict in memory")
            return Weights(kind=kind, origin="in memory", tensors_sha256=only_sha256(sets))
        case "as-built":
            return Weights(kind=kind, origin="as built by the model's own code")
        case "random":
            return Weights(kind=kind, origin=f"random:{_seed(text)}", seed=_seed(text))
        case "mlflow":
            return _known_to_family(spec, read_verified(fetch_from_mlflow(text), kind=kind, origin=text, part=part))
        case "url":
            found = read_download(fetch_to_cache(text), kind=kind, origin=without_query(text), part=part)
            return _known_to_family(spec, found)
        case "file":
            return _known_to_family(spec, read_verified(_file(text), kind=kind, origin=_origin(_file(text)), part=part))
        case _:
            return _find_named(spec, kind)


def _has_sha256(path: Path, file_hash: str | None) -> bool:
    try:
        return weights_sha256(path) == file_hash
    except (WeightsError, OSError):
        return False


def _find_named(spec: _Asked, kind: str) -> Weights:
    """Find weights that the model's family has a name for, as `DEFAULT`."""
    named = family_of(spec.model).weights(spec.model, spec.weights)
    if isinstance(named.location, Path):
        return read_verified(named.location, kind=kind, origin=named.origin)
    if isinstance(named.location, HubWeights):
        folder = fetch_weights(named.location)
        origin = f"{named.location.model.repo}@{folder.name}"
        return read_verified(named.location.inside(folder), kind=kind, origin=origin)
    if named.folder:
        path = fetch_to_file(named.location, named.folder, variable=named.folder_variable)
    else:
        path = fetch_to_cache(named.location)
    return read_download(path, kind=kind, origin=named.origin)


def _known_to_family(spec: _Asked, weights: Weights) -> Weights:
    """The weights; as those that the model's family has a name for, where they are its very file.

    One that has only its name is taken for it where no arguments of the factory say otherwise.
    """
    family, path, sha256 = family_of(spec.model), weights.path, weights.file_sha256
    if not family.names_weights or path is None or sha256 is None or weights.part or not weights.tensors_sha256:
        return weights
    if named := family.name_of_file(spec.model, "", sha256):
        said = named
    elif not spec.kwargs and (named := family.name_of_file(spec.model, path.name, sha256)):
        said = f"built as {named}"
    else:
        return weights
    return weights.model_copy(update={"named": named, "origin": f"{weights.origin} ({said})"})


def _seed(text: str) -> int:
    """The seed of `random[:SEED]`; without one it is 0."""
    seed = text.partition(":")[2] or "0"
    if not re.fullmatch(r"\d{1,9}", seed):
        raise WeightsError(f"{text!r} has no seed; write random or random:NUMBER.")
    return int(seed)


def _absolute(text: str) -> Path:
    return Path(text).expanduser().absolute()  # not resolved: a link's own name is the one that was asked for


def _file(text: str) -> Path:
    """The file, or the folder of files, that a text names."""
    path = _absolute(split_part(text)[0])
    if not path.exists():
        raise WeightsError(f"There is no weights file {path}; --weights takes {WEIGHTS_CHOICES}{near_miss(path)}")
    return path


def _origin(path: Path) -> str:
    """A file's base name; of a folder, which file of it holds the weights, too."""
    return f"{path.name}/{weights_file(path).relative_to(path)}" if path.is_dir() else path.name
