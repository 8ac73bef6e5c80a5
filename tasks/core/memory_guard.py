"""What runs within a guard is refused memory that there is not, where else the kernel would kill its process."""

import contextlib
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

_STATUS = Path("/proc/self/status")
_OWN = resource.getrlimit(resource.RLIMIT_DATA)
"""The limits that this process was started with."""
_LEAST_BYTES = 1 << 30
_SPARE = 0.05
"""Share of the machine's memory that is never counted as available."""


@contextlib.contextmanager
def guarded(num_bytes: float) -> Iterator[None]:
    """Within this context this process gets at most so many bytes more; does nothing where the system is not Linux.

    What is mapped from files to be read does not count.
    """
    before = limit_growth(num_bytes)
    try:
        yield
    finally:
        if before is not None:
            resource.setrlimit(resource.RLIMIT_DATA, before)


def limit_growth(num_bytes: float) -> tuple[int, int] | None:
    """Let this process get at most so many bytes more; gives the limits that it had, None where none can be set."""
    if sys.platform != "linux":
        return None
    before = resource.getrlimit(resource.RLIMIT_DATA)
    lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines() if ":" in line)
    limit = int(lines["VmData"].split()[0]) * 1024 + max(0, int(num_bytes))
    bounds = [bound for bound in _OWN if bound != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min([limit, *bounds]), before[1]))
    return before


def free_bytes() -> float:
    """What a guard may give: what is available, and swap; 1 GiB at the least, as other processes end and begin."""
    return max(available_bytes() + float(psutil.swap_memory().free), _LEAST_BYTES)


def available_bytes() -> float:
    """Available memory of the machine, or of the container if that is less, without the share never reserved."""
    machine = psutil.virtual_memory()
    available, total = float(machine.available), float(machine.total)
    with contextlib.suppress(OSError, ValueError):
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
        available, total = min(available, limit - used), min(total, limit)
    return available - _SPARE * total
