"""Who else uses the machine: processes of others count, own ones and those they start do not."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tasks.core.speed.load import Load

BUSY = [sys.executable, "-c", "import time; end = time.monotonic() + 30\nwhile time.monotonic() < end: pass"]


def test_what_others_take_is_what_this_process_lacks() -> None:
    """Two threads on so many cores: nothing lacks while a core is free, and at most all of it."""
    cores = os.cpu_count() or 1
    before = Load(moment=0.0, all_seconds=100.0, own_seconds=10.0)

    def taken(others: float, num_threads: int) -> float:
        return Load(2.0, 102.0 + 2 * others, 12.0).taken_since(before, num_threads=num_threads)

    assert taken(0, cores) == 0
    assert taken(cores - 1, 1) == 0
    assert taken(cores, 1) == 1
    assert taken(0.5 * cores, cores) == pytest.approx(0.5)
    assert taken(5.0 * cores, cores) == 1
    assert before.taken_since(before, num_threads=cores) == 0


def test_a_process_of_somebody_else_counts() -> None:
    """As a process that has another parent."""
    starter = (
        "import subprocess, sys\n"
        "null = subprocess.DEVNULL\n"
        "print(subprocess.Popen(sys.argv[1:], stdout=null, stderr=null).pid)"
    )
    pid = int(subprocess.run([sys.executable, "-c", starter, *BUSY], capture_output=True, check=True).stdout)
    try:
        before = Load.now()
        time.sleep(1)
        assert others_of(before) > 0.2
    finally:
        os.kill(pid, signal.SIGKILL)


def test_own_processes_do_not_count() -> None:
    """ONNX Runtime is one of them."""
    with subprocess.Popen(BUSY) as beside:
        before = Load.now()
        time.sleep(1)
        after = Load.now()
        beside.kill()
    assert after.own_seconds - before.own_seconds > 0.2


def others_of(before: Load) -> float:
    """Seconds that other processes had since then."""
    after = Load.now()
    return (after.all_seconds - before.all_seconds) - (after.own_seconds - before.own_seconds)
