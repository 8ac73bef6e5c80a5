"""The catalog: what is exported by name, `deployments/catalog.yaml`."""

from pathlib import Path
from typing import Any

import yaml

from tasks.core.errors import SpecError
from tasks.core.paths import CATALOG_FILE, PROJECT_FOLDER

_PATH_FIELDS = ("weights", "sample")


def read_catalog(path: Path = CATALOG_FILE) -> dict[str, dict[str, Any]]:
    """Read the entries of the catalog: spec fields by name.

    Raises:
        SpecError: the file is no mapping of names to fields.
    """
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        return {}
    except yaml.YAMLError as error:
        raise SpecError(f"{path.name} is not YAML: {str(error).replace(chr(10), ' ')}.") from error
    if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
        raise SpecError(f"{path.name} must map each name to the fields of its spec.")
    return entries


def find_entry(name: str) -> dict[str, Any] | None:
    """Find the fields that the entry of a name gives, paths made absolute; None: there is no entry.

    Raises:
        SpecError: the catalog can't be read.
    """
    entry = read_catalog().get(name)
    return None if entry is None else {key: _from_project(key, v) for key, v in entry.items() if v is not None}


def _from_project(key: str, value: Any) -> Any:
    """Make a path of the catalog absolute; it is relative to the project's folder."""
    if isinstance(value, str) and (key in _PATH_FIELDS or key == "model"):
        candidate = PROJECT_FOLDER / value.rpartition(":")[0] if key == "model" else PROJECT_FOLDER / value
        if candidate.is_file():
            return str(PROJECT_FOLDER / value)
    return value
