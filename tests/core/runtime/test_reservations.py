"""Memory is reserved before it is taken, and waited for."""

import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import psutil
import pytest

from tasks.core.paths import PROJECT_FOLDER
from tasks.core.runtime import reservations
from tasks.core.runtime.reservations import Growth, reserved

_HOLD = """
import sys
from tasks.core.runtime.reservations import reserved
with reserved(int(sys.argv[1]), title="other"):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Reservations of this test's own."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path / f"assay-memory-{os.getuid()}"


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set when a reservation waits."""
    event = threading.Event()
    monkeypatch.setattr(reservations.log, "info", lambda *_: event.set())
    return event


def hold(num_bytes: float) -> "subprocess.Popen[str]":
    """Another process that has reserved memory until it is told to end."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(int(num_bytes))],
        cwd=PROJECT_FOLDER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_one_that_is_alone_never_waits(waits: threading.Event) -> None:
    """More than the machine has is given at once where waiting would change nothing."""
    with reserved(10**15, title="large"):
        assert not waits.is_set()


def test_what_another_reserved_is_waited_for(waits: threading.Event) -> None:
    """While another process holds most of the memory a small reservation is made, and a large one when that ends."""
    total, made = psutil.virtual_memory().available, threading.Event()

    def reserve() -> None:
        with reserved(int(0.5 * total), title="large"):
            made.set()

    with hold(0.8 * total) as other:
        with reserved(1000, title="small"):
            assert not waits.is_set()
        thread = threading.Thread(target=reserve)
        thread.start()
        assert waits.wait(60)
        assert not made.is_set()
        other.communicate("\n")
    assert made.wait(60)
    thread.join()


def test_the_reservation_of_a_killed_process_counts_for_nothing(folder: Path, waits: threading.Event) -> None:
    """A process that was killed amid its export is forgotten, its number taken by another or not."""
    with hold(10**15) as process:
        process.kill()
    (folder / f"{os.getpid()}0.json").write_text(json.dumps({"goal_bytes": 10**15, "started": 1.0}))
    with reserved(10**14, title="next"):
        assert not waits.is_set()


def test_growth_is_of_this_process_in_this_time() -> None:
    """What was freed before does not count, what comes and goes within does."""
    np.ones(60_000_000)
    with Growth() as growth:
        np.ones(20_000_000)
    assert 100e6 < growth.num_bytes < 300e6
