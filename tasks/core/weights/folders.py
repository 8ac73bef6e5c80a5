"""Weights in several files: shards with an index, folders of Hugging Face and of trainers. Needs no PyTorch."""

import hashlib
import json
import re
from pathlib import Path

from tasks.core.errors import WeightsError, some
from tasks.core.hashes import file_sha256
from tasks.core.weights.foreign_files import foreign_folder

WEIGHTS_SUFFIXES = (".pth", ".pt", ".pt2", ".safetensors", ".ckpt", ".bin", ".npz")
_INDEX = ".index.json"
_NAMES = tuple(
    f"{stem}{end}"
    for stem in ("model", "pytorch_model", "diffusion_pytorch_model", "open_clip_model", "open_clip_pytorch_model")
    for end in (f".safetensors{_INDEX}", ".safetensors", f".bin{_INDEX}", ".bin")
)
"""What Hugging Face's libraries call weights in a folder, in the order in which they look for them."""
_BESIDE = re.compile(r"(model|pytorch_model)_\d+\.(safetensors|bin)$|adapter_model\.")
"""Further models that accelerate saved (of a GAN, an average), and adapters of peft."""
_SHARD = re.compile(r"-(\d{5})-of-(\d{5})\.\w+$")


def weights_file(path: Path, *, title: str = "") -> Path:
    """The one file, or index of shards, that a path stands for: itself, or what a folder holds.

    Args:
        path: a file or a folder.
        title: what messages call it; empty: by its path.

    Raises:
        WeightsError: the folder is something else, holds none, or several.
    """
    if not path.is_dir():
        return path
    if found := next((path / name for name in _NAMES if (path / name).is_file()), None):
        if others := sorted(file.name for file in path.iterdir() if _BESIDE.match(file.name)):
            raise WeightsError(f"{path} holds {found.name} and {some(others)}, which are other weights; name the one.")
        return found
    if foreign := foreign_folder(path):
        raise foreign
    files = sorted(file for file in path.rglob("*") if file.is_file() and _is_whole(file))
    if len(files) != 1:
        names = some([str(file.relative_to(path)) for file in files]) or "none"
        kinds = ", ".join(WEIGHTS_SUFFIXES)
        raise WeightsError(f"{title or path} should hold one weights file ({kinds}) but has {names}; name the one.")
    return files[0]


def weights_files(path: Path) -> tuple[Path, ...]:
    """The files that hold the tensors: one, or the shards of an index.

    Raises:
        WeightsError: shards are missing, or the path names a single one.
    """
    path = weights_file(path)
    if (shard := _SHARD.search(path.name)) and int(shard[2]) > 1:
        raise WeightsError(
            f"{path.name} is shard {int(shard[1])} of {int(shard[2])}; give the folder {path.parent} or its "
            f"*{_INDEX}, which names them all."
        )
    if not path.name.endswith(_INDEX):
        return (path,)
    try:
        names = sorted(set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()))
        shards = tuple(path.parent / Path(name).name for name in names)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(f"{path.name} is no index of shards ({error}); give a weights file.") from error
    if missing := [shard.name for shard in shards if not shard.is_file()]:
        raise WeightsError(f"{path.name} names shards that are not there: {some(missing)}; fetch them, too.")
    return shards


def weights_sha256(path: Path) -> str:
    """Hash the file that holds the weights; of shards, their names and hashes.

    Raises:
        WeightsError: as `weights_files`.
    """
    files = weights_files(path)
    if len(files) == 1:
        return file_sha256(files[0])
    return hashlib.sha256("".join(f"{file.name}:{file_sha256(file)};" for file in files).encode()).hexdigest()


def _is_whole(file: Path) -> bool:
    return file.name.endswith(_INDEX) or (file.suffix in WEIGHTS_SUFFIXES and _SHARD.search(file.name) is None)
