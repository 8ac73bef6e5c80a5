"""The record of weights that were read: their file, its hash, and the hash of their tensors."""

import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tasks.core.errors import WeightsError
from tasks.core.hashes import file_sha256, tensors_sha256
from tasks.core.records.steps import Weights

log = logging.getLogger("assay")


def memory_sha256(state_dict: object) -> str:
    """Hash the tensors of a state_dict in memory, which may lie among other things.

    Raises:
        WeightsError: it holds none.
    """
    from tasks.core.weights.state_dicts import find_tensors

    return _hash(find_tensors(state_dict, "the state_dict in memory").tensors)


def from_file(path: Path, *, kind: str, origin: str) -> Weights:
    """Read a local file and hash its bytes meanwhile.

    Args:
        path: of a checkpoint in any format.
        kind: of the source.
        origin: what was asked for, without secrets.

    Raises:
        WeightsError: it is no checkpoint.
    """
    from tasks.core.weights.state_dicts import read_state_dict

    with ThreadPoolExecutor(1) as beside:
        file_hash = beside.submit(file_sha256, path)
        tensors_hash = _hash(read_state_dict(path).tensors)
    size = path.stat().st_size
    return Weights(
        kind=kind,
        origin=origin,
        path=path,
        size_bytes=size,
        file_sha256=file_hash.result(),
        tensors_sha256=tensors_hash,
    )


def from_download(path: Path, *, kind: str, origin: str) -> Weights:
    """Read a downloaded file; one that is no checkpoint is removed, or it would block the next try.

    Args:
        path: where the download lies.
        kind: of the source.
        origin: what was asked for, without secrets.

    Raises:
        WeightsError: it is no checkpoint.
    """
    log.info("%s lies in %s", path.name, path.parent)
    try:
        return from_file(path, kind=kind, origin=origin)
    except WeightsError:
        path.unlink(missing_ok=True)
        raise


def _hash(state: Mapping[str, object]) -> str:
    import torch

    return tensors_sha256({name: value for name, value in state.items() if isinstance(value, torch.Tensor)})
