"""Memory is promised before it is taken, and waited for."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from tasks.core.runtime import reservations
from tasks.core.runtime.reservations import Growth, reserved

_HOLD = """
import sys, time
from tasks.core.runtime.reservations import reserved
with reserved(int(sys.argv[1]), title="other"):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Notes of this test's own."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(reservations.tempfile, "tempdir", None)
    return tmp_path / f"assay-memory-{os.getuid()}"


def hold(num_bytes: float, seconds: float) -> "subprocess.Popen[str]":
    """Another process that has reserved memory."""
    command = [sys.executable, "-c", _HOLD, str(int(num_bytes)), str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_one_that_is_alone_never_waits() -> None:
    """More than the machine has is given at once where waiting would change nothing."""
    started = time.monotonic()
    with reserved(10**15, title="large"):
        assert time.monotonic() - started < 1


def test_what_another_promised_itself_is_waited_for() -> None:
    """While another process holds most of the memory a large one waits, and a small one does not."""
    total = psutil.virtual_memory().available
    with hold(0.8 * total, 3):
        started = time.monotonic()
        with reserved(1000, title="small"):
            assert time.monotonic() - started < 1.5
        with reserved(int(0.5 * total), title="large"):
            assert time.monotonic() - started > 1.5


def test_the_note_of_a_killed_process_counts_for_nothing(folder: Path) -> None:
    """A process that was killed amid its export is forgotten, its number taken by another or not."""
    process = hold(10**15, 60)
    process.kill()
    process.wait()
    (folder / f"{os.getpid()}0.json").write_text(json.dumps({"goal_bytes": 10**15, "started": 1.0}))
    started = time.monotonic()
    with reserved(10**14, title="next"):
        assert time.monotonic() - started < 1


def test_growth_is_of_this_process_in_this_time() -> None:
    """What was freed before does not count, what comes and goes within does."""
    np.ones(60_000_000)
    with Growth() as growth:
        np.ones(20_000_000)
    assert 100e6 < growth.num_bytes < 300e6
