"""The constants of a file: initializers and tensors of Constant nodes, inside branches and loops, too."""

import mmap
from collections.abc import Iterator
from math import prod
from pathlib import Path

import numpy as np
import onnx
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from tasks.core.arrays import Array
from tasks.core.onnx_files.lazy_reading import read_without_weights, tensors_of, values


def constants(path: Path) -> Iterator[tuple[str, Array]]:
    """Names and values of all constants, bfloat16 as float32; large ones are mapped from disk rather than read.

    Args:
        path: of the file; its sidecars lie beside it.
    """
    model = read_without_weights(path)
    for part in (model.graph, *model.functions):
        for name, tensor in tensors_of(part):
            array = _mapped(tensor, path) if uses_external_data(tensor) else values(tensor, path)
            yield name, array.astype(np.float32) if array.dtype.kind == "V" else array


def unload(array: Array) -> None:
    """Give back the memory of a constant that is mapped from disk; it is read again when it is used again.

    Args:
        array: from `constants`, or another one, which stays as it is.
    """
    if isinstance(array, np.memmap):
        array._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]  # numpy's only name for it


def _mapped(tensor: onnx.TensorProto, path: Path) -> Array:
    place = ExternalDataInfo(tensor)
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type))
    if dtype.itemsize * prod(tensor.dims) != (place.length or dtype.itemsize * prod(tensor.dims)) or not prod(
        tensor.dims
    ):
        return values(tensor, path)  # several elements in a byte
    file = path.resolve().parent / place.location
    return np.memmap(file, dtype, mode="r", offset=place.offset or 0, shape=tuple(tensor.dims))
