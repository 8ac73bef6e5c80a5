"""Read whatever file or folder people keep weights in, by its content, without running code that it holds."""

import zipfile
from pathlib import Path
from typing import Any

import torch

from tasks.core.errors import AssayError, WeightsError
from tasks.core.weights.folders import weights_files
from tasks.core.weights.foreign_files import damaged, foreign_archive, named
from tasks.core.weights.pickles import read_pickle
from tasks.core.weights.pt2_archives import read_exported_archive
from tasks.core.weights.state_dicts import StateDict, find_sets
from tasks.core.weights.unpacking import check_archive, check_expanded

_STORED = "save it uncompressed, as torch.save and numpy.savez do"


def read_sets(path: Path, *, part: str = "") -> tuple[StateDict, ...]:
    """Read the sets of weights of a file (.pth, .pt, .pt2, .safetensors, .npz…), or of shards, as one.

    Args:
        path: the file, its index, or a folder.
        part: label of the set that is meant; empty: all.

    Raises:
        WeightsError: it is damaged, is no checkpoint, needs code of its own to load, or has no such set.
    """
    files = weights_files(path)
    if len(files) == 1:
        sets = find_sets(_read(files[0]), path.name, part=part)
        check_expanded(files[0], (value for found in sets for value in found.tensors.values()))
        return sets
    tensors: dict[str, Any] = {}
    for file in files:
        shard = find_sets(_read(file), file.name)[0].tensors
        check_expanded(file, shard.values())
        for key in shard.keys() & tensors.keys():
            if not torch.equal(shard[key], tensors[key]):
                raise WeightsError(f"{key} has another value in {file.name} than in an earlier shard; fetch all anew.")
        tensors.update(shard)
    return find_sets(tensors, path.name, part=part)


def _read(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            head = file.read(9)
    except OSError as error:
        raise WeightsError(f"{path} can't be read ({error.strerror}); check the path and its permissions.") from error
    if head[8:] == b"{":
        return _read_safetensors(path)
    if head.startswith(b"PK\x03\x04"):
        return _read_zip(path)
    if foreign := named(path):
        raise foreign
    return read_pickle(path, mmap=False)


def _read_safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise damaged(path, f"no whole safetensors file: {error}") from error


def _read_zip(path: Path) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            check_archive(path, archive, way_out=_STORED)
            names, tensors = archive.namelist(), read_exported_archive(archive, path)
    except AssayError:
        raise
    except Exception as error:  # damaged bytes make parsers raise anything; it becomes one sentence
        raise damaged(path, f"{type(error).__name__}: {error}") from error
    if tensors is not None:
        return tensors
    if any(name.endswith("constants.pkl") for name in names):
        raise WeightsError(
            f"{path.name} is a TorchScript archive, which is code; save its weights in Python: "
            f"`import torch; torch.save(torch.jit.load({str(path)!r}).state_dict(), 'weights.pth')`."
        )
    if names and all(name.endswith(".npy") for name in names):
        return _read_arrays(path)
    if not any(name == "data.pkl" or name.endswith("/data.pkl") for name in names):
        raise foreign_archive(path, names)
    return read_pickle(path, mmap=True)


def _read_arrays(path: Path) -> Any:
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except Exception as error:  # damaged bytes make parsers raise anything; it becomes one sentence
        raise damaged(path, str(error)) from error
