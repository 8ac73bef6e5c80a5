"""Read a state_dict from whatever file people have."""

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tasks.core.errors import WeightsError
from tasks.core.weights.loading import copied
from tasks.core.weights.pt2_archives import read_exported_archive

_NESTING = (
    "state_dict", "model_state_dict", "model_state", "model", "module", "net", "network", "generator",
    "params", "weights", "ema_state_dict", "model_ema", "params_ema", "ema",
)  # fmt: skip
"""Keys under which training code keeps the weights, the usual ones first."""

_CONVERSION = (
    "c = torch.load({name!r}, weights_only=False, map_location='cpu'); "
    "c = c if isinstance(c, dict) else {{'model': c}}; "
    "c = {{k: v.state_dict() if hasattr(v, 'state_dict') else v for k, v in c.items()}}; "
    "t = lambda v: isinstance(v, torch.Tensor) or isinstance(v, dict) and any(map(t, v.values())); "
    "torch.save({{k: v for k, v in c.items() if t(v)}}, 'weights.pth')"
)
"""Keeps of a checkpoint what holds tensors, and of a module its state_dict."""


@dataclass(frozen=True)
class StateDict:
    """Tensors by key, and the keys of the file under which they lay."""

    tensors: Mapping[str, Any]
    nesting: tuple[str, ...] = ()


def read_state_dict(path: Path) -> StateDict:
    """Read the tensors of a `.pth`, `.pt`, `.pt2` or `.safetensors` file, recognised by content.

    Raises:
        WeightsError: the file is damaged, is no checkpoint, or needs code of its own to load.
    """
    try:
        with path.open("rb") as file:
            head = file.read(9)
    except OSError as error:
        raise WeightsError(f"{path} can't be read ({error.strerror}); check the path and its permissions.") from error
    if head[8:] == b"{":
        return find_tensors(_read_safetensors(path), path.name)
    content = _read_zip(path) if head.startswith(b"PK\x03\x04") else _read_pickle(path, mmap=False)
    return find_tensors(content, path.name)


def find_tensors(content: Any, source: str) -> StateDict:
    """Find the mapping of names to tensors in what a file holds.

    Args:
        content: what was unpickled, or a module.
        source: what messages call it, e.g. the file's name.

    Raises:
        WeightsError: there is none.
    """
    nesting: list[str] = []
    while isinstance(content, Mapping) and (key := _nested_key(content, source)) is not None:
        nesting.append(str(key))
        content = content[key]
    if _num_tensors(content):
        tensors = copied(content)
        for name in [k for k, v in content.items() if not isinstance(v, torch.Tensor) and "_extra_state" not in k]:
            del tensors[name]
        return StateDict(tensors, tuple(nesting))
    if isinstance(content, nn.Module):
        return StateDict(content.state_dict(), tuple(nesting))
    found = ", ".join(map(str, list(content)[:12])) if isinstance(content, Mapping) else type(content).__name__
    raise WeightsError(f"{source} holds no tensors by name but {found or 'nothing'}; save model.state_dict() into it.")


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise WeightsError(f"{path.name} is a damaged safetensors file ({error}); fetch or save it again.") from error


def _read_zip(path: Path) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            names, tensors = archive.namelist(), read_exported_archive(archive)
    except Exception as error:  # damaged bytes make parsers raise anything; it becomes one sentence
        raise _damaged(path, f"{type(error).__name__}: {error}") from error
    if tensors is not None:
        return tensors
    if any(name.endswith("constants.pkl") for name in names):
        raise WeightsError(
            f"{path.name} is a TorchScript archive, which is code; save its weights with "
            f"torch.save(torch.jit.load({path.name!r}).state_dict(), 'weights.pth')."
        )
    return _read_pickle(path, mmap=True)


def _read_pickle(path: Path, *, mmap: bool) -> Any:
    try:
        with warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("ignore", UserWarning)  # of pickle protocols other than 2, which load all the same
            if path.suffix == ".safetensors":  # a path with this suffix would not be read as a pickle
                return torch.load(file, map_location="cpu", weights_only=True)
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        text = str(error)
        needs = re.search(r"(?:Unsupported global: GLOBAL|Unsupported class) ([\w.]+)", text)
        if needs is None and "Weights only load failed" in text and "GLOBAL" not in text:
            raise _damaged(path, text) from error
        raise WeightsError(
            f"{path.name} needs code to be loaded ({needs[1] if needs else 'a pickled object'}), which could do "
            f"anything; where you trust it, convert it once: "
            f"{_CONVERSION.format(name=path.name)}."
        ) from error
    except Exception as error:  # damaged bytes make the unpickler raise anything; it becomes one sentence
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, text: str) -> WeightsError:
    with path.open("rb") as file:
        start = file.read(64).lstrip().lower()
    what = "truncated, damaged or no checkpoint"
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        what = "a web page"
    elif start.startswith(b"version https://git-lfs"):
        what = "a Git LFS pointer, whose file `git lfs pull` fetches"
    detail = text.strip().splitlines()[0][:120] if text.strip() else "empty"
    return WeightsError(f"{path.name} ({path.stat().st_size:,} bytes) is {what} ({detail}); fetch or save it again.")


def _num_tensors(value: Any) -> int:
    """Tensors in a mapping, or under a usual key of it; the state of optimizers lies deeper."""
    if not isinstance(value, Mapping):
        return 0
    own = sum(isinstance(item, torch.Tensor) for item in value.values())
    return own or max((_num_tensors(value[key]) for key in _NESTING if key in value), default=0)


def _nested_key(content: Mapping[Any, Any], source: str) -> Any:
    """The key under which the weights lie; None where they are these values themselves.

    Raises:
        WeightsError: several keys hold equal sets of tensors, and none has a usual name.
    """
    own = sum(isinstance(item, torch.Tensor) for item in content.values())
    sizes = {key: size for key, value in content.items() if (size := _num_tensors(value))}
    if own >= max(sizes.values(), default=0):  # a lone `best_acc1` beside the weights is not the weights
        return None
    known = [key for key in _NESTING if key in sizes]
    if known:
        return known[0]
    largest = [key for key, size in sizes.items() if size == max(sizes.values())]
    same = [str(key) for key in largest if content[key].keys() == content[largest[0]].keys()]
    if len(same) > 1:
        raise WeightsError(f"{source} holds several sets of weights ({', '.join(same)}); save the one that you mean.")
    return largest[0]
