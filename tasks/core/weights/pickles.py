"""Unpickle checkpoints without running code: PyTorch's safe loader, and a few globals that only hold values."""

import argparse
import codecs
import collections
import pathlib
import pickle
import re
import warnings
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch.torch_version import TorchVersion

from tasks.core.allowance import allowed_bytes
from tasks.core.errors import WeightsError, is_out_of_memory
from tasks.core.memory_guard import guarded
from tasks.core.weights.foreign_files import PARTS, NeedsCodeError, damaged
from tasks.core.weights.pickled_arrays import PickledArray, PickledBuffer, PickledDtype, PickledScalar

_MAGIC = b"l\xfc\x9cF\xf9 j\xa8P\x19."
"""Of the files that torch.save wrote before it wrote zip archives."""

_ARRAYS: dict[str, Any] = {
    "numpy.dtype": PickledDtype,
    "numpy.ndarray": PickledArray,
    **{
        f"{package}.{name}": made
        for package in ("numpy.core", "numpy._core")  # before numpy 2, and since
        for name, made in {
            "multiarray.scalar": PickledScalar,
            "multiarray._reconstruct": PickledArray,
            "numeric._frombuffer": PickledBuffer,
        }.items()
    },
}
_HARMLESS: dict[str, Any] = {
    **_ARRAYS,
    "argparse.Namespace": argparse.Namespace,
    "pathlib.PosixPath": pathlib.PurePosixPath,
    "pathlib.PurePosixPath": pathlib.PurePosixPath,
    "pathlib.WindowsPath": pathlib.PureWindowsPath,
    "pathlib._local.PosixPath": pathlib.PurePosixPath,
    "torch.torch_version.TorchVersion": TorchVersion,
}
"""What training code keeps beside weights: numpy's values, arguments, paths, PyTorch's version. None of it acts."""

_CONVERSION = (
    "import numpy, torch; "
    "w = lambda v: v.state_dict() if hasattr(v, 'state_dict') else v if isinstance(v, torch.Tensor) else "
    "torch.from_numpy(v.copy()) if isinstance(v, numpy.ndarray) and v.dtype.kind in 'biufc' else "
    "{{str(k): w(i) for k, i in (v.items() if hasattr(v, 'items') else enumerate(v)) if w(i) is not None}} "
    "if hasattr(v, 'items') or isinstance(v, (list, tuple)) else None; "
    "torch.save(w({load}), 'weights.pth')"
)
"""Keeps of a checkpoint the tensors and arrays, and of a module its state_dict."""


def read_pickle(path: Path, *, mmap: bool) -> Any:
    """Read what `torch.save` or `pickle.dump` wrote, as far as it holds values only.

    Args:
        path: the file.
        mmap: read tensors when they are used; for zip archives only.

    Raises:
        WeightsError: it is damaged, or needs code to be loaded.
    """
    with path.open("rb") as file:
        start = file.read(32)
        file.seek(0)
        try:
            if start.startswith(b"\x80") and _MAGIC not in start:
                return _ArraysOnly(file).load()
            # a pickle may name sizes that it has no bytes for
            more = 3 * path.stat().st_size + allowed_bytes()
            with guarded(more), warnings.catch_warnings(), torch.serialization.safe_globals(_harmless()):
                warnings.simplefilter("ignore", UserWarning)  # of pickle protocols other than 2, which load, too
                if path.suffix == ".safetensors":  # a path with this suffix would not be read as a pickle
                    return torch.load(file, map_location="cpu", weights_only=True)
                return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
        except pickle.UnpicklingError as error:
            raise _refused(path, str(error)) from error
        except Exception as error:  # damaged bytes make the unpickler raise anything; it becomes one sentence
            said = "it asks for far more memory than it has bytes" if is_out_of_memory(error) else str(error)
            raise damaged(path, said) from error


class _ArraysOnly(pickle.Unpickler):
    """Reads pickles of numpy's arrays and of plain values; whatever else they name is refused.

    What it gives out has no attribute that could be set: a pickle may set those of a class.
    """

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, encoding="latin1")  # arrays that Python 2 pickled

    def find_class(self, module: str, name: str) -> Any:
        """Find a global among those of arrays."""
        known = {**_ARRAYS, "collections.OrderedDict": collections.OrderedDict, "_codecs.encode": codecs.encode}
        if f"{module}.{name}" not in known:
            raise pickle.UnpicklingError(f"Unsupported global: GLOBAL {module}.{name}")
        return known[f"{module}.{name}"]


def _harmless() -> list[Any]:
    return [(value, name) for name, value in _HARMLESS.items()]


def _refused(path: Path, text: str) -> WeightsError:
    """The error for a file that names what is not harmless, with a line that converts it."""
    needs = re.search(r"(?:[Uu]nsupported (?:global: )?GLOBAL |Unsupported class |but got <class ')([\w.]+)", text)
    if "DTensor" in text or (needs and needs[1].startswith("torch.distributed.")):
        return WeightsError(PARTS.format(name=path.name))
    if needs is None and "GLOBAL" not in text and ("Weights only load failed" in text or "pickle" in text):
        return damaged(path, text)
    what = needs[1] if needs else "a pickled object"
    return NeedsCodeError(
        f"{path.name} needs code to be loaded ({what}), which could do anything; where you trust it, convert it once, "
        f"in Python, where that code can be imported: `{_CONVERSION.format(load=_loader(path, what))}`."
    )


def _loader(path: Path, what: str) -> str:
    """Code that loads the file, whatever it does then."""
    flavor = path.parent.parent
    if path.parent.name == "data" and (flavor / "MLmodel").is_file():
        return f"__import__('mlflow').pytorch.load_model({str(flavor)!r})"
    if what.startswith("joblib."):
        return f"__import__('joblib').load({str(path)!r})"
    with path.open("rb") as file:
        start = file.read(32)
    if start.startswith(b"\x80") and _MAGIC not in start:
        return f"__import__('pickle').load(open({str(path)!r}, 'rb'))"
    return f"torch.load({str(path)!r}, weights_only=False, map_location='cpu')"
