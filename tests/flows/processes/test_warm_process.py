"""Calls in processes of their own. What is called here is Python's own, and the fork server imports nothing."""

import operator
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import forkserver
from multiprocessing.connection import wait

import pytest

from flows.processes import warm_process
from flows.processes.warm_process import WarmProcesses
from tasks.core.errors import CrashError
from tasks.core.paths import PROJECT_FOLDER

LONG_SECONDS = 100.0


@pytest.fixture(scope="module")
def processes() -> Iterator[WarmProcesses]:
    """Forked from a server without PyTorch, unless this test session has one already; it leaves none behind."""
    had_server = forkserver._forkserver._forkserver_pid is not None  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(warm_process, "PRELOADED", [])
        made = WarmProcesses()
    yield made
    made.close()
    if not had_server:
        forkserver._forkserver._stop()  # type: ignore[attr-defined]


def test_each_call_has_a_process_of_its_own(processes: WarmProcesses) -> None:
    """From several threads at once, too; each gets its own answer."""
    with ThreadPoolExecutor(4) as pool:
        pids = list(pool.map(lambda _: processes.run("a call", LONG_SECONDS, os.getpid), range(8)))
        sums = list(pool.map(lambda n: processes.run("a sum", LONG_SECONDS, operator.add, n, 1), range(8)))
    assert len({*pids, os.getpid()}) == 9
    assert sums == list(range(1, 9))


def test_what_is_raised_there_is_raised_here(processes: WarmProcesses) -> None:
    """Even what ends the interpreter."""
    with pytest.raises(ZeroDivisionError):
        processes.run("a quotient", LONG_SECONDS, operator.truediv, 1, 0)
    with pytest.raises(SystemExit):
        processes.run("an exit", LONG_SECONDS, sys.exit, 0)


@pytest.mark.parametrize(
    ("call", "argument", "says"),
    [
        (os._exit, 0, "was ended by its own code"),
        (os._exit, 3, "ended with status 3"),
        (signal.raise_signal, signal.SIGSEGV, "was killed by SIGSEGV"),
        (signal.raise_signal, signal.SIGKILL, "was killed by SIGKILL"),
    ],
)
def test_a_process_that_dies_is_no_result(processes: WarmProcesses, call: object, argument: int, says: str) -> None:
    """However it ends without an answer, status 0 included; the next call runs."""
    with pytest.raises(CrashError, match=f"the call: its process {says}"):
        processes.run("the call", LONG_SECONDS, call, argument)  # type: ignore[arg-type]
    assert processes.run("a sum", LONG_SECONDS, operator.add, 1, 1) == 2


def test_a_child_that_a_call_leaves_behind_does_not_keep_it_alive(processes: WarmProcesses) -> None:
    """It holds the pipe of the answer open, and the call ends without one all the same."""
    with pytest.raises(CrashError, match="ended by its own code"):
        processes.run(
            "the call", LONG_SECONDS, exec, "import os\nif os.fork(): os._exit(0)\nos.execlp('sleep', 'sleep', '2')"
        )


def test_a_call_that_takes_too_long_is_stopped(processes: WarmProcesses) -> None:
    """With a sentence that says after what time."""
    with pytest.raises(CrashError, match=r"took longer than 0.1 s"):
        processes.run("the call", 0.1, time.sleep, LONG_SECONDS)


def test_one_that_does_not_listen_is_killed(processes: WarmProcesses, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where SIGTERM does nothing."""
    monkeypatch.setattr(warm_process, "_STOP_SECONDS", 0.2)
    deaf = f"import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep({LONG_SECONDS})"
    with pytest.raises(CrashError, match=r"took longer than 0.5 s"):
        processes.run("the call", 0.5, exec, deaf)


@pytest.mark.usefixtures("processes")
def test_closing_stops_what_runs_and_what_comes() -> None:
    """A call under way in another thread, after it has cleaned up, and every later one."""
    processes = WarmProcesses()
    said, saying = os.pipe()
    clean = (
        "import os, signal\n"
        f"saying = os.open('/proc/{os.getpid()}/fd/{saying}', os.O_WRONLY)\n"
        "try:\n os.write(saying, b'here')\n signal.pause()\nfinally: os.write(saying, b'clean')"
    )
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(processes.run, "the call", LONG_SECONDS, exec, clean)
        assert os.read(said, 10) == b"here"
        processes.close()
        with pytest.raises(CrashError, match="the call was stopped"):
            call.result(LONG_SECONDS)
    assert os.read(said, 10) == b"clean"
    with pytest.raises(CrashError, match="a later one was stopped"):
        processes.run("a later one", LONG_SECONDS, os.getpid)


_OWNER = """
import os, signal, subprocess, sys
from flows.processes import warm_process
warm_process.PRELOADED = []
if __name__ == "__main__":
    other = subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL)
    print(other.pid, flush=True)
    call = "import os, signal\\nprint(os.getpid(), flush=True)\\nsignal.pause()"
    warm_process.WarmProcesses().run("the call", 60, exec, call)
"""


def test_it_ends_with_its_owner_though_others_live() -> None:
    """The owner is killed; another child of it goes on."""
    with subprocess.Popen(
        [sys.executable, "-c", _OWNER], cwd=PROJECT_FOLDER, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        other, warm = int(owner.stdout.readline()), os.pidfd_open(int(owner.stdout.readline()))
        owner.kill()
        assert wait([warm], LONG_SECONDS)
        os.close(warm)
        os.kill(other, signal.SIGKILL)
