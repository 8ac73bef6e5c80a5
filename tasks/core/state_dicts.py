"""Read a state_dict from whatever file people have, and load it into a module, strictly."""

import fnmatch
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tasks.core.errors import WeightsError

_NESTING = (
    "state_dict", "model_state_dict", "model_state", "model", "module", "net", "network", "generator",
    "params", "weights", "ema_state_dict", "model_ema", "params_ema", "ema",
)  # fmt: skip
"""Keys under which training code keeps the weights, the usual ones first."""


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
    with path.open("rb") as file:
        head = file.read(9)
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
        if any(isinstance(value, torch.Tensor) for value in content.values()):
            tensors = {str(k): v for k, v in content.items() if isinstance(v, torch.Tensor) or "_extra_state" in str(k)}
            return StateDict(tensors, tuple(nesting))
        nested = [k for k in _NESTING if isinstance(content.get(k), Mapping)]
        nested += [k for k, v in content.items() if isinstance(v, Mapping) and _num_tensors(v) and k not in nested]
        if not nested:
            break
        nesting.append(str(nested[0]))
        content = content[nested[0]]
    if isinstance(content, nn.Module):
        return StateDict(content.state_dict(), tuple(nesting))
    found = ", ".join(map(str, content)) if isinstance(content, Mapping) else type(content).__name__
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
        WeightsError: keys are missing or left over, or a tensor has another shape or kind.
    """
    tensors, renamed = _without_prefixes(dict(tensors), set(model.state_dict()))
    _check_kinds(model, tensors)
    try:
        result = model.load_state_dict(tensors, strict=False)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:]] or [str(error)]
        shapes = [re.sub(r"copying a param with shape torch\.Size\((.*?)\) from checkpoint, the shape in current "
                         r"model is torch\.Size\((.*?)\)\.", r"\1 in the weights, \2 in the model", line)
                  for line in lines]  # fmt: skip
        more = f" and {len(shapes) - 3} more" if len(shapes) > 3 else ""
        raise WeightsError(
            f"The weights do not fit {type(model).__name__}: {'; '.join(shapes[:3])}{more}; "
            f"give the factory the arguments it was trained with (--kwargs)."
        ) from error
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
        names = zipfile.ZipFile(path).namelist()
    except zipfile.BadZipFile as error:
        raise WeightsError(f"{path.name} is truncated or damaged ({error}); fetch or save it again.") from error
    if any(name.endswith("constants.pkl") for name in names):
        raise WeightsError(
            f"{path.name} is a TorchScript archive, which is code; save its weights with "
            f"torch.save(torch.jit.load({path.name!r}).state_dict(), 'weights.pth')."
        )
    if any(name.endswith("archive_format") for name in names) and not any(n.endswith("data.pkl") for n in names):
        return dict(torch.export.load(path).state_dict)
    return _read_pickle(path, mmap=True)


def _read_pickle(path: Path, *, mmap: bool) -> Any:
    import pickle

    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        text = str(error)
        needs = re.search(r"(?:Unsupported global: GLOBAL|Unsupported class) ([\w.]+)", text)
        if needs is None and "Weights only load failed" in text and "GLOBAL" not in text:
            raise _damaged(path, text) from error
        raise WeightsError(
            f"{path.name} needs code to be loaded ({needs[1] if needs else 'a pickled object'}), which could do "
            f"anything; where you trust it, convert it once: "
            f"c = torch.load({path.name!r}, weights_only=False, map_location='cpu'); "
            f"torch.save(c.state_dict() if hasattr(c, 'state_dict') else c['state_dict'], 'weights.pth')."
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, OSError, IndexError, AttributeError) as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, text: str) -> WeightsError:
    with path.open("rb") as file:
        start = file.read(64).lstrip().lower()
    what = "a web page" if start.startswith((b"<!doctype", b"<html")) else "truncated, damaged or no checkpoint"
    detail = text.strip().splitlines()[0][:120] if text.strip() else "empty"
    return WeightsError(f"{path.name} ({path.stat().st_size:,} bytes) is {what} ({detail}); fetch or save it again.")


def _num_tensors(value: Mapping[Any, Any]) -> int:
    return sum(isinstance(item, torch.Tensor) for item in value.values())


def _without_prefixes(tensors: dict[str, Any], wanted: set[str]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Drop `_orig_mod.` anywhere, and leading words shared by all keys, where that fits the model better."""
    renamed: list[str] = []
    if any("_orig_mod." in key for key in tensors) and not any("_orig_mod." in key for key in wanted):
        tensors = {key.replace("_orig_mod.", ""): value for key, value in tensors.items()}
        renamed.append("_orig_mod. dropped")
    while tensors:
        first = {key.partition(".")[0] for key in tensors}
        if len(first) != 1 or not all("." in key for key in tensors):
            break
        shorter = {key.partition(".")[2]: value for key, value in tensors.items()}
        if len(wanted & shorter.keys()) <= len(wanted & tensors.keys()):
            break
        renamed.append(f"{first.pop()}.* -> *")
        tensors = shorter
    return tensors, tuple(renamed)


def _check_kinds(model: nn.Module, tensors: Mapping[str, Any]) -> None:
    """Refuse integers where the model has floats: int8 weights without their scales load silently wrong."""
    for key, own in model.state_dict().items():
        given = tensors.get(key)
        if isinstance(own, torch.Tensor) and isinstance(given, torch.Tensor):
            if own.is_floating_point() and not given.is_floating_point() and not given.is_complex():
                raise WeightsError(
                    f"{key} is {given.dtype} in the weights and {own.dtype} in the model: quantized weights need "
                    f"their scales applied; save the dequantized tensors."
                )


def _strictly(what: str, keys: list[str], allowed: tuple[str, ...], option: str) -> tuple[str, ...]:
    refused = [key for key in keys if not any(fnmatch.fnmatchcase(key, glob) for glob in allowed)]
    if refused:
        shown = ", ".join(refused[:5]) + (f" and {len(refused) - 5} more" if len(refused) > 5 else "")
        raise WeightsError(
            f"{len(refused)} keys are {what}: {shown}; give the right weights, or allow them by name with {option}."
        )
    return tuple(keys)
