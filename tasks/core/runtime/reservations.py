"""Reservations of memory by processes that export on one machine: an export waits rather than swap.

Each process writes what it will need to a file that the others read.
"""

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

from tasks.core.memory_guard import available_bytes

log = logging.getLogger("assay")

WEIGHTS_FACTOR = 3.2
"""Multiple of the size of a model's weights that its export and proof hold at most."""
RUN_FACTOR = 6.0
"""Multiple of what one float32 run takes: float64 takes twice as much, ONNX Runtime as much, batches grow."""
_POLL_SECONDS = 0.5
_STATUS, _RESET_PEAK = Path("/proc/self/status"), Path("/proc/self/clear_refs")
"""Linux only; elsewhere a run is taken to need nothing."""


class Growth:
    """Measures by how much this process's peak memory within this context exceeds its memory at the start.

    Not by `ru_maxrss`, which a process inherits from the one that started it.
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
    """Estimate the memory that an export and its proof will take beyond what the process has now.

    Args:
        model: with its weights.
        run_bytes: by how much this process grew while the model ran in float32.
    """
    weights = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    return int((WEIGHTS_FACTOR - 1) * weights + RUN_FACTOR * run_bytes)


@contextlib.contextmanager
def reserved(num_bytes: int, *, title: str) -> Iterator[None]:
    """Reserve memory for this process within this context; wait while others have reserved what is left.

    A process without others beside it never waits, as that would change nothing.

    Args:
        num_bytes: beyond what the process has now.
        title: of the export, for the log.
    """
    folder = Path(tempfile.gettempdir()) / f"assay-memory-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    own = folder / f"{os.getpid()}.json"
    waited = False
    while not _try_reserve(own, num_bytes):
        if not waited:
            log.info("%s waits for %.1f GB of memory until another export ends", title, num_bytes / 1e9)
        waited = True
        time.sleep(_POLL_SECONDS)
    try:
        yield
    finally:
        own.unlink(missing_ok=True)


def _try_reserve(own: Path, num_bytes: int) -> bool:
    with filelock.FileLock(own.parent / "lock"):
        reserved = [left for path in own.parent.glob("*.json") if (left := _left_bytes(path)) is not None]
        if reserved and num_bytes > available_bytes() - sum(reserved):
            return False
        goal = psutil.Process().memory_info().rss + num_bytes
        own.write_text(json.dumps({"goal_bytes": goal, "started": psutil.Process().create_time()}))
        return True


def _left_bytes(path: Path) -> int | None:
    """What a process has not yet taken of its reservation; None, and the file is removed, if the process has ended."""
    with contextlib.suppress(psutil.NoSuchProcess, ValueError, OSError):
        note = json.loads(path.read_text())
        process = psutil.Process(int(path.stem))
        if process.create_time() == note["started"]:
            return max(0, int(note["goal_bytes"]) - int(process.memory_info().rss))
    path.unlink(missing_ok=True)
    return None
