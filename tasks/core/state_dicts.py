"""Read a state_dict from whatever file people have, and load it into a module, strictly."""

import fnmatch
import re
import warnings
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tasks.core.errors import WeightsError
from tasks.core.exported_archives import is_exported_archive, read_exported_archive

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


@dataclass(frozen=True)
class Loaded:
    """What happened to the keys."""

    num_loaded: int
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    renamed: tuple[str, ...]


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
    if len(head) == 9 and head[8:9] == b"{":
        return find_tensors(_read_safetensors(path), path.name)
    if head[:4] == b"PK\x03\x04":
        return find_tensors(_read_zip(path), path.name)
    return find_tensors(_read_pickle(path, mmap=False), path.name)


def find_tensors(content: Any, source: str) -> StateDict:
    """Find the mapping of names to tensors in what a file holds.

    Raises:
        WeightsError: there is none.
    """
    nesting: list[str] = []
    while isinstance(content, Mapping):
        key = _nested_key(content, source)
        if key is not None:
            nesting.append(str(key))
            content = content[key]
        elif _num_tensors(content):
            tensors = _copy(content)
            for name in [k for k, v in content.items() if not isinstance(v, torch.Tensor) and "_extra_state" not in k]:
                del tensors[name]
            return StateDict(tensors, tuple(nesting))
        else:
            break
    if isinstance(content, nn.Module):
        return StateDict(content.state_dict(), tuple(nesting))
    found = ", ".join(map(str, list(content)[:12])) if isinstance(content, Mapping) else type(content).__name__
    raise WeightsError(f"{source} holds no tensors by name but {found or 'nothing'}; save model.state_dict() into it.")


def load_state_dict(
    model: nn.Module,
    tensors: Mapping[str, Any],
    *,
    ignore_missing: tuple[str, ...] = (),
    ignore_unexpected: tuple[str, ...] = (),
) -> Loaded:
    """Load tensors into the module; every key must fit but those that the globs allow.

    Raises:
        WeightsError: keys are missing or left over, a tensor has another shape or kind, or the module's own
            hooks refuse them.
    """
    tensors, renamed = _without_prefixes(_copy(tensors), set(model.state_dict()))
    _check_kinds(model, tensors)
    try:
        result = model.load_state_dict(tensors, strict=False)
    except Exception as error:  # the module's own hooks may raise anything; it becomes one sentence
        lines = [line.strip() for line in str(error).splitlines()[1:]] or [str(error)]
        shapes = [re.sub(r"copying a param with shape torch\.Size\((.*?)\) from checkpoint, the shape in current "
                         r"model is torch\.Size\((.*?)\)\.", r"\1 in the weights, \2 in the model", line)
                  for line in lines]  # fmt: skip
        more = f" and {len(shapes) - 3} more" if len(shapes) > 3 else ""
        raise WeightsError(
            f"The weights do not fit {type(model).__name__}: {'; '.join(shapes[:3])}{more}; "
            f"give the factory the arguments it was trained with (--kwargs)."
        ) from error
    if result is None:
        raise WeightsError(
            f"{type(model).__name__}.load_state_dict returns nothing, so that missing keys would go unseen; "
            f"let it return what super().load_state_dict returns."
        )
    if len(result.unexpected_keys) == len(tensors) and result.missing_keys:
        raise WeightsError(
            f"No key fits: the weights have {', '.join(result.unexpected_keys[:3])}…, {type(model).__name__} has "
            f"{', '.join(result.missing_keys[:3])}…; give the weights of this very model."
        )
    missing = _strictly("missing from the weights", result.missing_keys, ignore_missing, "--ignore-missing")
    unexpected = _strictly("unknown to the model", result.unexpected_keys, ignore_unexpected, "--ignore-unexpected")
    return Loaded(len(tensors) - len(unexpected), missing, unexpected, renamed)


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
            names = archive.namelist()
            if is_exported_archive(names):
                return read_exported_archive(archive)
    except Exception as error:  # damaged bytes make parsers raise anything; it becomes one sentence
        raise _damaged(path, f"{type(error).__name__}: {error}") from error
    if any(name.endswith("constants.pkl") for name in names):
        raise WeightsError(
            f"{path.name} is a TorchScript archive, which is code; save its weights with "
            f"torch.save(torch.jit.load({path.name!r}).state_dict(), 'weights.pth')."
        )
    return _read_pickle(path, mmap=True)


def _read_pickle(path: Path, *, mmap: bool) -> Any:
    import pickle

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


def _copy(tensors: Mapping[Any, Any], *, word: str = "", inside: str = "") -> OrderedDict[str, Any]:
    """Copy a state_dict, the leading `word` and `inside` taken out of its keys.

    The copy keeps what modules know of the version of their format: some, such as MNASNet, refuse to load
    without it.
    """

    def renamed(key: str) -> str:
        key = key.replace(inside, "") if inside else key
        return f"{key}.".removeprefix(f"{word}.").removesuffix(".") if word else key

    copy = OrderedDict((renamed(str(key)), value) for key, value in tensors.items())
    versions = getattr(tensors, "_metadata", None)
    if isinstance(versions, Mapping):
        # in this order, so that the entry of a wrapped module wins over its wrapper's
        copy._metadata = OrderedDict((renamed(key), value) for key, value in versions.items())  # type: ignore[attr-defined]
    return copy


def _without_prefixes(
    tensors: OrderedDict[str, Any], wanted: set[str]
) -> tuple[OrderedDict[str, Any], tuple[str, ...]]:
    """Drop `_orig_mod.` anywhere, and the leading word of most keys, where that fits the model better.

    A few keys without that word stay as they are: torch's AveragedModel puts `n_averaged` beside `module.*`,
    trainers put their losses beside `model.*`.
    """
    renamed: list[str] = []
    if any("_orig_mod." in key for key in tensors) and not any("_orig_mod." in key for key in wanted):
        tensors = _copy(tensors, inside="_orig_mod.")
        renamed.append("_orig_mod. dropped")
    best, shorter, dropped = tensors, tensors, []
    while words := Counter(key.partition(".")[0] for key in shorter if "." in key).most_common(1):
        word = words[0][0]
        shorter = _copy(shorter, word=word)
        if len(shorter) < len(tensors):
            break
        dropped.append(f"{word}.* -> *")
        if len(wanted & shorter.keys()) > len(wanted & best.keys()):
            best = shorter
            renamed += dropped
            dropped = []
    return best, tuple(renamed)


def _check_kinds(model: nn.Module, tensors: Mapping[str, Any]) -> None:
    """Refuse what PyTorch would cast silently into other numbers.

    Integers and 8-bit floats lack their scales, complex numbers would lose their imaginary part, and
    fractions would be cut off.
    """
    for key, own in model.state_dict().items():
        given = tensors.get(key)
        if not isinstance(own, torch.Tensor) or not isinstance(given, torch.Tensor):
            continue
        what = ""
        if own.is_floating_point() and (
            given.is_quantized or (not given.is_floating_point() and not given.is_complex())
        ):
            what = "quantized weights need their scales applied; save the dequantized tensors"
        elif own.dtype != given.dtype and given.is_floating_point() and given.element_size() == 1:
            what = "8-bit floats need their scales applied; save the dequantized tensors"
        elif given.is_complex() and not own.is_complex():
            what = "its imaginary part would be lost; give the weights of this model"
        elif given.is_floating_point() and not (own.is_floating_point() or own.is_complex()):
            what = "" if torch.equal(given, given.round()) else "its fractions would be cut off; give the right weights"
        if what:
            raise WeightsError(f"{key} is {given.dtype} in the weights and {own.dtype} in the model: {what}.")


def _strictly(what: str, keys: list[str], allowed: tuple[str, ...], option: str) -> tuple[str, ...]:
    refused = [key for key in keys if not any(fnmatch.fnmatchcase(key, glob) for glob in allowed)]
    if refused:
        shown = ", ".join(refused[:5]) + (f" and {len(refused) - 5} more" if len(refused) > 5 else "")
        raise WeightsError(
            f"{len(refused)} keys are {what}: {shown}; give the right weights, or allow them by name with {option}."
        )
    return tuple(keys)
