"""What an archive, or tensors in it, would take beyond the bytes on the disk: counted before it is taken."""

import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from rich.filesize import decimal

from tasks.core.allowance import check_memory
from tasks.core.errors import AssayError, WeightsError

MAX_MEMBERS = 1_000_000


def check_archive(
    path: Path, archive: zipfile.ZipFile, *, way_out: str, error: type[AssayError] = WeightsError
) -> None:
    """Refuse an archive that is far larger unpacked, as the directory in it says: readers take no byte more than that.

    Args:
        path: of the file.
        archive: the same, open.
        way_out: how to save it otherwise, in the imperative.
        error: what is raised.

    Raises:
        AssayError: of that class, where it takes more memory than is allowed.
    """
    num_bytes, members = path.stat().st_size, archive.infolist()
    subject = f"{path.name} ({decimal(num_bytes)}), unpacked, takes"
    grown = sum(member.file_size for member in members) - num_bytes
    check_memory(grown, subject, way_out=way_out, error=error)
    if len(members) > MAX_MEMBERS:
        raise error(f"{path.name} has {len(members):,} members, more than {MAX_MEMBERS:,}; {way_out}.")


def check_read_twice(path: Path, members: Iterable[zipfile.ZipInfo]) -> None:
    """Refuse tensors that name the same bytes again and again, each of which would be read anew.

    Args:
        path: of the archive.
        members: one for each tensor.
    """
    grown = sum(member.file_size for member in members) - path.stat().st_size
    subject = f"{path.name} ({decimal(path.stat().st_size)}), each tensor read on its own, takes"
    check_memory(grown, subject, way_out="save the state_dict with torch.save", error=WeightsError)


def check_expanded(path: Path, tensors: Iterable[Any]) -> None:
    """Refuse tensors of more elements than they have bytes for: broadcast or sparse ones, which are written out here.

    Args:
        path: of the file.
        tensors: of all sets in it.
    """
    tensors = [tensor for tensor in tensors if isinstance(tensor, torch.Tensor)]
    if any(tensor.is_meta for tensor in tensors):
        raise WeightsError(f"{path.name} holds tensors without values (meta device); save those of a loaded model.")
    grown = sum(map(_grown_bytes, {id(tensor): tensor for tensor in tensors}.values()))
    subject = f"{path.name} ({decimal(path.stat().st_size)}), its broadcast tensors written out, takes"
    check_memory(grown, subject, way_out="save them as .contiguous() ones of their true size", error=WeightsError)


def _grown_bytes(tensor: torch.Tensor) -> int:
    try:
        stored = int(tensor.untyped_storage().nbytes())
    except (RuntimeError, NotImplementedError, AttributeError):  # a sparse one has no storage of its own
        stored = 0
    return max(0, int(tensor.numel()) * int(tensor.element_size()) - stored)
