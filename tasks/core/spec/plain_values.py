"""What people write into options, YAML and forms: values of bounded depth and number, names that can be written."""

import re
from typing import Any

from tasks.core.errors import SpecError

MAX_DEPTH = 32
MAX_VALUES = 100_000
MAX_NAME_BYTES = 200
"""A file system takes 255, with what temporary names add."""
_UNWRITABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def checked_values(values: Any, what: str) -> Any:
    """Give values back if they are nested no deeper than 32 and are no more than 100,000; else a SpecError.

    Args:
        values: dicts and lists of anything; one that lies in itself is too deep.
        what: the subject of the sentence.
    """
    level, num_values = [values], 0
    for _ in range(MAX_DEPTH):
        level = [item for value in level for item in _items(value)]
        num_values += len(level)
        if num_values > MAX_VALUES:
            raise SpecError(f"{what} hold more than {MAX_VALUES:,} values; read them from a file in the model's code.")
        if not level:
            return values
    raise SpecError(f"{what} are nested deeper than {MAX_DEPTH}; write them flatter.")


def checked_name(name: str, what: str) -> str:
    """Give a name back if it can be that of a file and of a line; else a SpecError.

    Args:
        name: as it was given.
        what: what is called so, e.g. `The input`.
    """
    if not name.strip():
        raise SpecError(f"{what} name {name!r} is blank; give it one of letters.")
    if _UNWRITABLE.search(name):
        raise SpecError(f"{what} name {name!a} holds signs that can't be written down; give it one of letters.")
    if (num_bytes := len(name.encode())) > MAX_NAME_BYTES:
        raise SpecError(f"{what} name {name!r} has {num_bytes} bytes; give one of at most {MAX_NAME_BYTES}.")
    return name


def _items(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [*value, *value.values()]
    return list(value) if isinstance(value, list | tuple | set) else []
