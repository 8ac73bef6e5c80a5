"""The catalog: what is exported by a name of its own, `deployments/catalog.yaml`."""

from pathlib import Path
from typing import Any

import yaml

from tasks.core.errors import SpecError
from tasks.core.paths import CATALOG_FILE


def read_catalog(path: Path = CATALOG_FILE) -> dict[str, dict[str, Any]]:
    """Read the entries of the catalog, spec fields by name; a SpecError if it maps no names to fields."""
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        return {}
    except yaml.YAMLError as error:
        raise SpecError(f"{path.name} is not YAML: {str(error).replace(chr(10), ' ')}.") from error
    if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
        raise SpecError(f"{path.name} must map each name to the fields of its spec.")
    return entries
