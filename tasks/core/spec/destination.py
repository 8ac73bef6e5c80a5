"""Places that are written at the end: whether they can be, said before the work, and that no input lies there."""

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from tasks.core.errors import SpecError, one_line
from tasks.core.families.registry import family_of
from tasks.core.spec.export_spec import ResolvedSpec
from tasks.core.weights.sources import weights_kind
from tasks.core.weights.urls import split_part


def check_destination(path: Path | None, spec: ResolvedSpec) -> None:
    """Check that the proven file can be put somewhere, and replaces nothing that the export reads; else a SpecError.

    Args:
        path: of the copy; None: there will be none.
        spec: of the export.
    """
    if path is None:
        return
    check_writable(path)
    check_not_read(path, files_read(spec))
    if path.exists() and not path.is_file():
        raise SpecError(f"{path} is no file; name one, or a folder as {path}/.")


def check_writable(path: Path, *, makes_folders: bool = True) -> None:
    """Check that a file can be written at a path: the folder takes one of that name; else a SpecError.

    Args:
        path: of the file.
        makes_folders: whoever writes it makes the folders that are not there.
    """
    place = path.expanduser().absolute()
    try:
        if place.is_dir() or (place.exists() and not os.access(place, os.W_OK)):
            raise PermissionError("it is a folder" if place.is_dir() else "it is read-only")
        if place.is_file() or not place.exists():  # else it is a device, a pipe, a terminal
            if not makes_folders and not place.parent.exists():
                raise FileNotFoundError(f"there is no folder {place.parent}")
            folder = next(parent for parent in place.parents if parent.exists())
            with tempfile.NamedTemporaryFile(dir=folder, prefix=f".{place.name}.", suffix=".part"):
                pass
    except (OSError, ValueError) as error:  # a name that is too long, or holds a zero byte, too
        said = getattr(error, "strerror", None) or one_line(error)
        raise SpecError(f"{path} can't be written ({said}); name a file in a folder that you may write to.") from error


def check_not_read(path: Path, files: Iterable[Path]) -> None:
    """Check that a file does not replace what is read; else a SpecError.

    Args:
        path: where it is to be written.
        files: files and folders that are read.
    """
    place = path.expanduser().resolve()
    if place.is_file() and any(place.is_relative_to(file.expanduser().resolve()) for file in files):
        raise SpecError(f"{path} is read here and would be replaced; name another place.")


def files_read(spec: ResolvedSpec) -> tuple[Path, ...]:
    """Files and folders that an export reads, as far as its spec tells."""
    weights = split_part(spec.weights)[0] if weights_kind(spec) == "file" else None
    return tuple(Path(file) for file in (family_of(spec.model).file_of(spec.model), weights, spec.sample) if file)
