"""Read the weights of a `torch.export` archive, without running any code that it holds.

`torch.export.load` unpickles the archive's sample inputs, constants and objects, which could do anything;
the weights themselves lie in it as raw bytes, with a table of their names, dtypes and shapes.
"""

import io
import json
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

import torch

from tasks.core.weights.unpacking import check_read_twice

_TABLE = "/data/weights/model_weights_config.json"
_BEFORE_2_9 = "serialized_state_dict.pt"
_DTYPES = {
    1: torch.uint8,
    2: torch.int8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    10: torch.complex64,
    11: torch.complex128,
    12: torch.bool,
    13: torch.bfloat16,
    29: torch.float8_e4m3fn,
    30: torch.float8_e5m2,
}
"""By the numbers of the archive's own schema, torch/_export/serde/schema.py."""


def read_exported_archive(archive: zipfile.ZipFile, path: Path) -> dict[str, torch.Tensor] | None:
    """Read tensors by name; None: by the names of its members the file does not come from `torch.export.save`.

    Args:
        archive: the file, open.
        path: of the file.

    Raises:
        WeightsError: it would take more memory than is allowed.
        ValueError, KeyError and others: the archive is damaged.
    """
    names = archive.namelist()
    if _BEFORE_2_9 in names:
        return dict(torch.load(io.BytesIO(archive.read(_BEFORE_2_9)), map_location="cpu", weights_only=True))
    table = next((name for name in names if name.endswith(_TABLE)), None)
    if table is None:
        return None
    folder = PurePosixPath(table).parent
    entries: dict[str, dict[str, Any]] = json.loads(archive.read(table))["config"]
    members = {name: archive.getinfo(str(folder / entry["path_name"])) for name, entry in entries.items()}
    check_read_twice(path, members.values())  # as an aliased weight is
    return {name: _tensor(archive.read(members[name]), entry) for name, entry in entries.items()}


def _tensor(content: bytes, entry: dict[str, Any]) -> torch.Tensor:
    if entry["use_pickle"]:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)  # type: ignore[no-any-return]
    described = entry["tensor_meta"]
    dtype = _DTYPES[described["dtype"]]
    sizes, strides = ([int(n["as_int"]) for n in described[field]] for field in ("sizes", "strides"))
    if not content:
        return torch.zeros(sizes, dtype=dtype)
    flat = torch.frombuffer(bytearray(content), dtype=dtype)
    return flat.as_strided(sizes, strides, int(described["storage_offset"]["as_int"]))
