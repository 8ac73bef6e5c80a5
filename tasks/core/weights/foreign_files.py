"""Files and folders that people give as weights and that are none: what they are, and the way out. Needs no PyTorch."""

import gzip
import re
import shlex
import zlib
from pathlib import Path

from tasks.core.errors import WeightsError

_SAVE = "save model.state_dict() with torch.save"
_UNPACK = "unpack it, and give the weights file that it holds"
_OTHERS = "load it in the library that wrote it and save the tensors by their PyTorch names, e.g. as .safetensors"
_BY_CONTENT: tuple[tuple[int, bytes, str], ...] = (
    (0, b"BZh", f"is compressed by bzip2; {_UNPACK}"),
    (0, b"\xfd7zXZ\x00", f"is compressed by xz; {_UNPACK}"),
    (0, b"\x28\xb5\x2f\xfd", f"is compressed by zstd; {_UNPACK}"),
    (0, b"7z\xbc\xaf\x27\x1c", f"is a 7z archive; {_UNPACK}"),
    (0, b"Rar!\x1a\x07", f"is a RAR archive; {_UNPACK}"),
    (257, b"ustar", "is a tar archive; unpack it with `tar -xf {name}`, and give the weights file that it holds"),
    (0, b"\x89HDF\r\n\x1a\n", f"is an HDF5 file, as Keras writes them; {_OTHERS}"),
    (0, b"GGUF", "is a GGUF file of llama.cpp; give the .safetensors that it was made from"),
    (4, b"TFL3", f"is a model of TensorFlow Lite, not weights of PyTorch; {_SAVE}"),
    (0, b"\x93NUMPY", "is one array without a name; save an .npz with each array under its key"),
    (0, b"MATLAB 5.0", f"is a file of MATLAB; {_OTHERS}"),
    (0, b"<!doctype", "is a web page; fetch the file itself"),
    (0, b"<html", "is a web page; fetch the file itself"),
    (0, b"<?xml", "is a web page; fetch the file itself"),
    (0, b"version https://git-lfs", "is a Git LFS pointer; fetch its file with `git lfs pull`"),
)
"""Place of the bytes that tell, the bytes, and the rest of the sentence."""
_BY_SUFFIX = {
    ".onnx": "is an ONNX file, not weights; flows/verify.py proves it against its PyTorch model",
    ".msgpack": f"is a file of Flax; {_OTHERS}",
    ".keras": f"is a model of Keras; {_OTHERS}",
    ".pb": f"is a graph of TensorFlow; {_OTHERS}",
    ".index": f"is a checkpoint of TensorFlow; {_OTHERS}",
    ".data-00000-of-00001": f"is a checkpoint of TensorFlow; {_OTHERS}",
    ".pdparams": f"is a file of PaddlePaddle; {_OTHERS}",
    ".mar": f"is an archive of TorchServe; {_UNPACK}",
    ".engine": f"is a plan of TensorRT, which runs on one kind of GPU only; {_SAVE}",
    ".py": "is Python code, not weights; give it as MODEL, as file.py:Class",
    ".json": "is JSON, not weights; give the weights file beside it",
    ".yaml": "is YAML, not weights; give the weights file beside it",
}
_IN_FOLDERS: tuple[tuple[str, str], ...] = (
    ("zero_to_fp32.py", "is a checkpoint of DeepSpeed; join it with `python {path}/zero_to_fp32.py {path} whole`, and "
                        "give whole/pytorch_model.bin"),
    ("*model_states.pt", "is a part of a checkpoint of DeepSpeed; join it with zero_to_fp32.py in the folder above"),
    ("adapter_model.*", "holds an adapter (LoRA), which is no whole model; merge it (merge_and_unload of peft), and "
                        "save that"),
    ("saved_model.pb", f"is a SavedModel of TensorFlow; {_OTHERS}"),
    ("tf_model.h5", f"holds weights of TensorFlow; {_OTHERS}"),
    ("flax_model.msgpack", f"holds weights of Flax; {_OTHERS}"),
    ("snapshots/*", "is a repository in the cache of Hugging Face; give the folder of a revision in it: {first}"),
)  # fmt: skip
"""A file that tells what a folder is, and the rest of the sentence."""
_DCP = (
    "is a checkpoint of torch.distributed.checkpoint, whose .metadata is a pickle, which could do anything; where "
    "you trust it, convert it once with `python -m torch.distributed.checkpoint.format_utils dcp_to_torch {path} "
    "weights.pth`"
)

PARTS = (
    "{name} holds one process's parts of tensors (FSDP); save them whole, as "
    "torch.distributed.checkpoint.state_dict.get_model_state_dict gives them with full_state_dict=True."
)
"""The sentence for a state_dict of DTensors, or of older kinds of shards."""


class NoCheckpointError(WeightsError):
    """The file is damaged or something else; another download may bring the right one."""


class NeedsCodeError(WeightsError):
    """The file needs code to be loaded; the message has the line of Python that converts it."""

    longest = 1500


def named(path: Path) -> NoCheckpointError | None:
    """The error for a file whose first bytes tell that it is something else; None: it may be a checkpoint."""
    with path.open("rb") as file:
        start = file.read(512)
    what = _compressed(path) if start.startswith(b"\x1f\x8b") else ""
    text = start.lstrip().lower()
    for place, sign, sentence in _BY_CONTENT:
        if start[place:].startswith(sign) or (sign.startswith((b"<", b"version")) and text.startswith(sign)):
            what = what or sentence
    return NoCheckpointError(f"{_sized(path)} {what.format(name=shlex.quote(path.name))}.") if what else None


def damaged(path: Path, detail: str) -> NoCheckpointError:
    """The error for a file that can't be read as a checkpoint: its name may tell what it is.

    Args:
        path: the file.
        detail: what a parser says.
    """
    first = detail.strip().splitlines()[0][:120] if detail.strip() else "empty"
    what = f"is truncated, damaged or no checkpoint ({first}); fetch or save it again"
    what = next((text for end, text in _BY_SUFFIX.items() if path.name.lower().endswith(end)), what)
    return NoCheckpointError(f"{_sized(path)} {what}.")


def foreign_archive(path: Path, names: list[str]) -> NoCheckpointError:
    """The error for a zip archive that PyTorch did not write.

    Args:
        path: the file.
        names: of its members.
    """
    what = f"is a zip archive that PyTorch did not write ({', '.join(names[:3]) or 'empty'}…); {_UNPACK}"
    if any(name.endswith("model.weights.h5") for name in names):
        what = _BY_SUFFIX[".keras"]
    if any(name.startswith("MAR-INF/") for name in names):
        what = _BY_SUFFIX[".mar"]
    return NoCheckpointError(f"{_sized(path)} {what}.")


def foreign_folder(path: Path) -> WeightsError | None:
    """The error for a folder that is known to hold no weights as a module takes them."""
    if (path / ".metadata").is_file() or any(path.glob("*.distcp")):
        return WeightsError(f"{path} {_DCP.format(path=shlex.quote(str(path)))}.")
    for pattern, what in _IN_FOLDERS:
        if first := next(iter(sorted(path.glob(pattern))), None):
            return WeightsError(f"{path} {what.format(path=shlex.quote(str(path)), first=first)}.")
    return None


def _compressed(path: Path) -> str:
    """What a gzip file holds: an archive of many files, or one file."""
    try:
        with gzip.open(path) as file:
            is_tar = file.read(512)[257:].startswith(b"ustar")
    except (OSError, EOFError, zlib.error):
        return ""
    is_tar = is_tar or re.search(r"\.(tgz|tar\.gz)$", path.name) is not None
    what = "is a compressed tar archive; unpack it with `tar -xf {name}`, and give the weights file that it holds"
    return what if is_tar else "is compressed by gzip; unpack it with `gzip -dc {name} > unpacked.pth`, and give that"


def _sized(path: Path) -> str:
    return f"{path.name} ({path.stat().st_size:,} bytes)"
