"""Find the weights a spec asks for, as a verified local file."""

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from tasks.core.errors import WeightsError
from tasks.core.hashes import file_sha256, tensors_sha256
from tasks.core.records.steps import Weights
from tasks.core.spec.export_spec import ResolvedSpec
from tasks.core.spec.resolve import known_family
from tasks.core.spec.weights_kinds import random_seed, weights_file, weights_kind
from tasks.core.weights.download import fetch_to_cache, fetch_to_file
from tasks.core.weights.state_dicts import find_tensors, read_state_dict
from tasks.core.weights.urls import mirrored, split_url, without_query

log = logging.getLogger("assay")


def find_weights(spec: ResolvedSpec, fetch_from_mlflow: Callable[[str], Path]) -> Weights:
    """Find, fetch and verify the weights.

    Args:
        spec: what is exported.
        fetch_from_mlflow: gives the local file of a `runs:/` or `models:/` URI.

    Raises:
        SpecError: the weights can't be understood.
        WeightsError: their hash or format is wrong, or there is no such file.
        ServiceError: a host could not be reached.
    """
    kind, text = weights_kind(spec), str(spec.weights)
    match kind:
        case "state_dict":
            found = find_tensors(spec.weights, "the state_dict in memory")
            return Weights(kind=kind, origin="in memory", tensors_sha256=tensors_sha256(_tensors(found.tensors)))
        case "as-built":
            return Weights(kind=kind, origin="as built by the model's own code")
        case "random":
            seed = random_seed(text)
            return Weights(kind=kind, origin=f"random:{seed}", seed=seed)
        case "url":
            return _from_url(text)
        case "mlflow":
            return _from_file(fetch_from_mlflow(text), kind=kind, origin=text)
        case "file":
            path = weights_file(text)
            return _from_file(path, kind=kind, origin=path.name)
        case _:
            return _from_family(spec)


def _tensors(mapping: Mapping[str, object]) -> dict[str, torch.Tensor]:
    return {name: value for name, value in mapping.items() if isinstance(value, torch.Tensor)}


def _from_file(path: Path, *, kind: str, origin: str) -> Weights:
    with ThreadPoolExecutor(1) as beside:
        file_hash = beside.submit(file_sha256, path)
        state = read_state_dict(path)
        tensors_hash = tensors_sha256(_tensors(state.tensors))
    return Weights(
        kind=kind,
        origin=origin,
        path=path,
        size_bytes=path.stat().st_size,
        file_sha256=file_hash.result(),
        tensors_sha256=tensors_hash,
    )


def _from_url(url: str) -> Weights:
    _, name, expected = split_url(url)
    way_out = "give a local file with --weights FILE, or set ASSAY_WEIGHTS_MIRROR to a mirror"
    path, _ = fetch_to_cache(url, expected=expected, way_out=way_out)
    log.info("%s lies in %s", name, path.parent)
    return _readable_or_gone(path, kind="url", origin=without_query(url))


def _from_family(spec: ResolvedSpec) -> Weights:
    family = known_family(spec)
    named = family.weights(spec.model, spec.weights)
    if not named.location.startswith(("http://", "https://")):
        return _from_file(Path(named.location), kind=family.name, origin=named.origin)
    _, file_name, expected = split_url(named.location)
    mirror = f"set ASSAY_WEIGHTS_MIRROR to a mirror (asked: {without_query(mirrored(named.location))})"
    if named.folder is None:
        way_out = f"give a local file with --weights FILE, or {mirror}"
        path, _ = fetch_to_cache(named.location, expected=expected, way_out=way_out)
    else:
        path = named.folder / file_name
        way_out = f"give a local file with --weights FILE, {mirror}, or put {file_name} into {named.folder}"
        fetch_to_file(named.location, path, expected=expected, way_out=way_out, variable=named.folder_variable)
    log.info("%s lies in %s", file_name, path.parent)
    return _readable_or_gone(path, kind=family.name, origin=named.origin)


def _readable_or_gone(path: Path, *, kind: str, origin: str) -> Weights:
    """Read a downloaded file; one that is no checkpoint must not stay, or it would block the next try."""
    try:
        return _from_file(path, kind=kind, origin=origin)
    except WeightsError:
        path.unlink(missing_ok=True)
        raise
