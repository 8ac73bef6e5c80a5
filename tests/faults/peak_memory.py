"""The most memory that a process takes while something is done."""

import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path

import psutil

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@contextlib.contextmanager
def peak_below(num_bytes: int) -> Iterator[None]:
    """Within this context neither this process, beside what it holds before, nor a child of it takes more.

    Args:
        num_bytes: of resident memory.
    """
    _RESET.write_text("5")  # the peak becomes what is held now
    before, of_children = psutil.Process().memory_info().rss, _of_children()
    yield
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    peak = int(line.split()[1]) * 1024
    assert peak - before < num_bytes, f"{peak / 1e6:.0f} MB, {before / 1e6:.0f} before"
    children = _of_children()
    assert children == of_children or children < num_bytes, f"a child process took {children / 1e6:.0f} MB"


def _of_children() -> int:
    """Of the largest child that has ended so far."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
