"""The record of weights that lie in a file: read once, hashed, described without secrets."""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.core.hashes import tensors_sha256
from tasks.core.records.steps import Weights
from tasks.core.weights.folders import weights_file, weights_files, weights_sha256
from tasks.core.weights.foreign_files import NoCheckpointError

if TYPE_CHECKING:
    from tasks.core.weights.state_dicts import StateDict

log = logging.getLogger("assay")

_MANY_KEYS = 50_000


def read_verified(path: Path, *, kind: str, origin: str, part: str = "") -> Weights:
    """Read weights, and hash the bytes of their files meanwhile.

    Args:
        path: a file, an index of shards, or a folder.
        kind: as `Weights.kind` has it.
        origin: what was asked for, without secrets and label.
        part: label of the set that is meant; empty: the one that fits.

    Raises:
        WeightsError: they can't be read, or have no such set.
    """
    from tasks.core.weights.checkpoint_files import read_sets

    path = weights_file(path)
    with ThreadPoolExecutor(1) as beside:
        file_hash = beside.submit(weights_sha256, path)
        sets = read_sets(path, part=part)
        if (num_keys := sum(len(found.tensors) for found in sets)) > _MANY_KEYS:
            log.info("%s holds %s tensors, which take a while", path.name, f"{num_keys:,}")
        tensors_hash = only_sha256(sets)
    return Weights(
        kind=kind,
        origin=f"{origin}#{part}" if part else origin,
        path=path,
        part=part,
        size_bytes=sum(file.stat().st_size for file in weights_files(path)),
        file_sha256=file_hash.result(),
        tensors_sha256=tensors_hash,
    )


def read_download(path: Path, *, kind: str, origin: str, part: str = "") -> Weights:
    """Read a downloaded file; one that is no checkpoint is removed, or it would block the next try.

    Args:
        path: the file.
        kind: as `Weights.kind` has it.
        origin: what was asked for, without secrets and label.
        part: label of the set that is meant; empty: the one that fits.

    Raises:
        WeightsError: as `read_verified`.
    """
    log.info("%s lies in %s", path.name, path.parent)
    try:
        return read_verified(path, kind=kind, origin=origin, part=part)
    except NoCheckpointError:
        path.unlink(missing_ok=True)
        raise


def only_sha256(sets: Sequence["StateDict"]) -> str | None:
    """Hash of the only set of weights; of several the module's keys decide, once it is built."""
    return tensors_sha256(sets[0].tensors) if len(sets) == 1 else None
