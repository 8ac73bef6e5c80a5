"""The catalog: what is exported by a name of its own, `deployments/catalog.yaml`."""

from pathlib import Path
from typing import Any

import yaml

from tasks.core.errors import SpecError, one_line
from tasks.core.paths import CATALOG_FILE
from tasks.core.spec.plain_values import checked_values


def read_catalog(path: Path = CATALOG_FILE) -> dict[str, dict[str, Any]]:
    """Read the entries of the catalog, spec fields by name; a SpecError if it maps no names to fields."""
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SpecError(f"{path.name} can't be read ({error.strerror}); check the file and its permissions.") from error
    except UnicodeDecodeError as error:
        raise SpecError(f"{path.name} is not UTF-8 ({error.reason} at byte {error.start}); save it as such.") from error
    except RecursionError as error:
        raise SpecError(f"{path.name} is nested too deep to be read; write it flatter.") from error
    except (yaml.YAMLError, ValueError) as error:  # a date of month 13 is a ValueError
        raise SpecError(f"{path.name} is not YAML: {one_line(error)}; correct it.") from error
    checked_values(entries, f"The entries of {path.name}")
    if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
        raise SpecError(f"{path.name} must map each name to the fields of its spec.")
    for key in (key for fields in (entries, *entries.values()) for key in fields):
        if not isinstance(key, str):
            raise SpecError(f"{path.name} has {key!r} for a name, which is {type(key).__name__}; quote it: '{key}'.")
    return entries
