"""How much memory is taken for what lies in no file: counted before it is taken, and refused with the figure."""

import os
import re

from rich.filesize import decimal

from tasks.core.errors import AssayError, SpecError

VARIABLE = "ASSAY_MEMORY"
USUAL_BYTES = 1 << 30
_MOST_GIGABYTES = 100_000
_UNITS = {"": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}


def check_memory(num_bytes: int, what: str, *, way_out: str, error: type[AssayError] = SpecError) -> None:
    """Refuse what would take more memory than is allowed for what lies in no file.

    Args:
        num_bytes: that it would take.
        what: the subject of the sentence and its verb, e.g. `The input image takes`.
        way_out: how to do with less, in the imperative.
        error: what is raised.

    Raises:
        AssayError: of that class; or a SpecError, as the environment variable holds no size.
    """
    allowed = allowed_bytes()
    if num_bytes > allowed:
        gigabytes = -(-num_bytes // 10**9)
        allow = f", or set {VARIABLE} to more, e.g. {VARIABLE}={gigabytes}GB" if gigabytes < _MOST_GIGABYTES else ""
        needed = decimal(num_bytes) if allow else "more than 100 TB"
        raise error(
            f"{what} {needed} of memory, and {decimal(allowed)} is what may be taken beyond the files given; "
            f"{way_out}{allow}."
        )


def allowed_bytes() -> int:
    """What the environment variable says, else 1 GiB; a SpecError if it is no size."""
    text = os.environ.get(VARIABLE) or str(USUAL_BYTES)
    match = re.fullmatch(r"\s*(\d{1,15})(?:\.\d*)?\s*([kmgt]?i?b?)\s*", text.lower())
    unit = match and _UNITS.get(match[2])
    if match is None or unit is None:
        raise SpecError(f"{VARIABLE}={text} is no size; write e.g. {VARIABLE}=8GB.")
    return int(match[1]) * unit
