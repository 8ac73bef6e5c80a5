"""How ONNX Runtime's process ends: by a file, from outside, by an interruption of its owner, with its owner."""

import contextlib
import linecache
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import wait
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

from tasks.core.arrays import Array
from tasks.core.errors import CrashError, SpecError
from tasks.core.paths import PROJECT_FOLDER
from tasks.core.runtime import session_client, sessions
from tests.core.runtime.small_files import BATCHES, session_processes

DEATH_SECONDS = 60.0


def await_death(pid: int) -> None:
    """Wait for the end of a child, and leave its status to its owner."""
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def sending(sent: signal.Signals) -> Iterator[dict[str, Array]]:
    """Two inputs; before the second the process gets a signal."""
    yield {"x": BATCHES[0]}
    (child,) = session_processes()
    child.send_signal(sent)
    await_death(child.pid)
    yield {"x": BATCHES[1]}


def test_a_crash_is_the_files(twice: Path, crashing: Path) -> None:
    """A real SIGFPE of a kernel, and a SIGSEGV: one sentence, what was answered before, and the next file runs."""
    with pytest.raises(sessions.SessionError, match=r"^its process was killed by SIGFPE \(signal 8\)") as crash:
        sessions.answers(crashing, [{"x": np.array([1])}, {"x": np.array([-(2**63)])}])
    assert crash.value.num_answered == 1
    with pytest.raises(sessions.SessionError, match="SIGSEGV"):
        sessions.answers(twice, sending(signal.SIGSEGV))
    ((found,),) = sessions.answers(twice, [{"x": BATCHES[0]}])
    np.testing.assert_array_equal(found, 2 * BATCHES[0])


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_a_kill_from_outside_is_not(twice: Path, sent: signal.Signals) -> None:
    """It says nothing about the file."""
    with pytest.raises(CrashError, match=f"was killed by {sent.name}"):
        sessions.answers(twice, sending(sent))
    assert len(sessions.answers(twice, [{"x": BATCHES[0]}])) == 1


def test_it_is_started_again_after_it_died_idle(twice: Path) -> None:
    """Nobody waited for it then."""
    sessions.prepare()
    (child,) = session_processes()
    child.kill()
    await_death(child.pid)
    assert len(sessions.answers(twice, [{"x": BATCHES[0]}])) == 1


def test_a_process_that_cannot_start_is_one_sentence(twice: Path, tmp_path: Path) -> None:
    """Here its ONNX Runtime raises on import."""
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('no libonnxruntime.so')\n")
    program = (
        "from pathlib import Path\nfrom tasks.core.runtime import sessions\nfrom tasks.core.errors import CrashError\n"
        f"try: sessions.answers(Path({str(twice)!r}), [{{}}])\nexcept CrashError as error: print(error)"
    )
    environment = {**os.environ, "PYTHONPATH": f"{PROJECT_FOLDER}{os.pathsep}{tmp_path}"}
    said = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60)
    assert "could not be started: its process ended with status 1: ImportError: no libonnx" in said.stdout, said.stderr


def test_an_interrupted_caller_gets_no_old_answer(twice: Path, endless: Path) -> None:
    """Ctrl-C while it computes: that answer never comes, and the next one is the next one's."""
    sessions.answers(endless, [])
    previous = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with pytest.raises(KeyboardInterrupt):
            sessions.answers(endless, [{"x": BATCHES[0]}])
    finally:
        signal.signal(signal.SIGALRM, previous)
    ((found,),) = sessions.answers(twice, [{"x": BATCHES[1]}])
    np.testing.assert_array_equal(found, 2 * BATCHES[1])


def test_a_time_limit_stops_a_waiting_thread(twice: Path, endless: Path) -> None:
    """Prefect's, of a task that does not run in the main thread: it raises an exception where Python code runs."""
    from prefect.utilities.timeout import timeout

    def ask() -> None:
        with timeout(seconds=0.2):
            sessions.answers(endless, [{"x": BATCHES[0]}])

    sessions.answers(endless, [])
    with ThreadPoolExecutor(1) as pool, pytest.raises(TimeoutError, match="timed out after"):
        pool.submit(ask).result()
    assert len(sessions.answers(twice, [{"x": BATCHES[0]}])) == 1


@pytest.mark.slow
def test_an_interruption_at_any_line_mixes_up_no_answers(twice: Path) -> None:
    """Ctrl-C at each line in turn: the next answer is the next one's, and comes."""
    line, finished = 0, False
    while not finished:
        line += 1
        with _interrupted_at(line):
            try:
                with sessions.opening(twice):
                    sessions.answers(twice, [{"x": batch} for batch in BATCHES[:2]])
                finished = True
            except KeyboardInterrupt:
                pass
        found = sessions.answers(twice, [{"x": BATCHES[2]}, {"x": BATCHES[0]}])
        np.testing.assert_array_equal(found[0][0], 2 * BATCHES[2], err_msg=f"line {line}")
        np.testing.assert_array_equal(found[1][0], 2 * BATCHES[0], err_msg=f"line {line}")
    assert line > 50


@contextlib.contextmanager
def _interrupted_at(number: int) -> Iterator[None]:
    """Raise KeyboardInterrupt where the n-th line of sessions.py or session_client.py is to run."""
    lines = iter(range(1, number + 1))

    def trace(frame: FrameType, event: str, _: object) -> Any:
        file = frame.f_code.co_filename
        if file not in (sessions.__file__, session_client.__file__):
            return None
        is_code = linecache.getline(file, frame.f_lineno).strip() != "try:"  # where Python never looks
        if event == "line" and is_code and next(lines, None) == number:
            raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


def test_an_interrupted_caller_does_not_wait_until_a_file_is_open(twice: Path, slow_to_open: Path) -> None:
    """It gets away at once, and the next file has a process of its own."""
    sessions.answers(twice, [])
    (before,) = session_processes()
    with pytest.raises(KeyboardInterrupt), sessions.opening(slow_to_open):
        raise KeyboardInterrupt
    sessions.answers(twice, [{"x": BATCHES[0]}])
    assert session_processes() != [before]


@pytest.mark.parametrize(
    "end",
    [
        pytest.param("sys.exit()", marks=pytest.mark.slow),
        pytest.param("os._exit(0)", marks=pytest.mark.slow),
        "os.kill(os.getpid(), signal.SIGKILL)",
    ],
)
def test_it_ends_with_its_owner(endless: Path, end: str) -> None:
    """However that ends, and even while it computes."""
    program = (
        "import os, signal, sys, threading\nfrom pathlib import Path\nimport numpy as np\n"
        "from tasks.core.runtime import sessions\n"
        f"sessions.answers(Path({str(endless)!r}), [])\n"
        f"ask = lambda: sessions.answers(Path({str(endless)!r}), [{{'x': np.ones((1, 3), np.float32)}}])\n"
        "thread = threading.Thread(target=ask, daemon=True)\nthread.start()\nthread.join(0.5)\n"
        f"print(sessions._client._process.pid, flush=True)\nsys.stdin.readline()\n{end}\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=PROJECT_FOLDER, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as owner:  # fmt: skip
        assert owner.stdout is not None
        ended = os.pidfd_open(int(owner.stdout.readline()))
        owner.communicate("\n")
    assert wait([ended], DEATH_SECONDS)
    os.close(ended)


def test_a_file_that_never_answers_is_stopped(endless: Path, twice: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After as many seconds as the variable says; its process is gone, and the next file runs."""
    monkeypatch.setenv(session_client.VARIABLE, "2")
    with pytest.raises(CrashError, match=r"did not answer within 2 s .*set ASSAY_RUN_SECONDS to more"):
        sessions.answers(endless, [{"x": BATCHES[0]}])
    assert not [process for process in session_processes() if process.status() != "zombie"]
    assert len(sessions.answers(twice, [{"x": BATCHES[0]}])) == 1
    monkeypatch.setenv(session_client.VARIABLE, "soon")
    with pytest.raises(SpecError, match="ASSAY_RUN_SECONDS=soon is no number of seconds"):
        sessions.answers(twice, [{"x": BATCHES[0]}])
