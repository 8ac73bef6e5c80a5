"""Wait for memory rather than swap: processes that export on one machine tell each other what they will need."""

import contextlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import filelock
import psutil
from torch import nn

log = logging.getLogger("assay")

WEIGHTS_FACTOR = 3.2
"""Multiple of a model's weights that its export and proof hold at most."""
RUN_FACTOR = 6.0
"""Multiple of what one float32 run took: float64 takes twice as much, ONNX Runtime as much, batches grow."""
_SPARE = 0.05
"""Share of the machine's memory that is left alone."""
_POLL_SECONDS = 0.5
_STATUS, _RESET_PEAK = Path("/proc/self/status"), Path("/proc/self/clear_refs")
"""Linux's; elsewhere a run is taken to need nothing."""


class Growth:
    """Within this context, by how much the process's peak memory grows beyond what it had at the start.

    Not `ru_maxrss`, which a process inherits from the one that started it.
    """

    num_bytes = 0

    def __enter__(self) -> Self:
        with contextlib.suppress(OSError):
            _RESET_PEAK.write_text("5")
        self._start_bytes = psutil.Process().memory_info().rss
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
            self.num_bytes = max(0, int(lines["VmHWM"].split()[0]) * 1024 - self._start_bytes)


def needed_bytes(model: nn.Module, *, run_bytes: int) -> int:
    """What an export and its proof will take beyond what the process has now.

    Args:
        model: with its weights.
        run_bytes: by how much this process grew while the module ran in float32.
    """
    weights = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    return int((WEIGHTS_FACTOR - 1) * weights + RUN_FACTOR * run_bytes)


@contextlib.contextmanager
def reserved(num_bytes: int, *, title: str) -> Iterator[None]:
    """Hold this much memory for this process; wait while others have promised themselves what is left.

    A process that has no others beside it never waits: then waiting would change nothing.
    """
    own = _folder() / f"{os.getpid()}.json"
    waited = False
    while not _entered(own, num_bytes):
        if not waited:
            log.info("%s waits for %.1f GB of memory until another export ends", title, num_bytes / 1e9)
        waited = True
        time.sleep(_POLL_SECONDS)
    try:
        yield
    finally:
        own.unlink(missing_ok=True)


def _entered(own: Path, num_bytes: int) -> bool:
    with filelock.FileLock(own.parent / "lock"):
        promised = [still for path in own.parent.glob("*.json") if (still := _still_promised(path)) is not None]
        if promised and num_bytes > _available_bytes() - sum(promised):
            return False
        goal = psutil.Process().memory_info().rss + num_bytes
        own.write_text(json.dumps({"goal_bytes": goal, "started": psutil.Process().create_time()}))
        return True


def _still_promised(path: Path) -> int | None:
    """What a process may yet take of what it reserved; None, and its note is removed, where it has ended."""
    with contextlib.suppress(psutil.NoSuchProcess, ValueError, OSError):
        note = json.loads(path.read_text())
        process = psutil.Process(int(path.stem))
        if process.create_time() == note["started"]:
            return max(0, int(note["goal_bytes"]) - int(process.memory_info().rss))
    path.unlink(missing_ok=True)
    return None


def _available_bytes() -> float:
    """Free memory of the machine, or of the container where that is less, but for a spare part."""
    machine = psutil.virtual_memory()
    available, total = float(machine.available), float(machine.total)
    with contextlib.suppress(OSError, ValueError):
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
        available, total = min(available, limit - used), min(total, limit)
    return available - _SPARE * total


def _folder() -> Path:
    folder = Path(tempfile.gettempdir()) / f"assay-memory-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder
