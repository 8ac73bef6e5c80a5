"""Answers of ONNX Runtime, from a process of its own.

A file that makes ONNX Runtime crash costs that process, and is a finding; what a model's code does to its own process
does not reach it. docs/decisions/8-sessions.md says more.
"""

import atexit
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import torch

from tasks.core.errors import CrashError, cause_of_death
from tasks.core.probes import Array

_PROJECT = Path(__file__).parents[2]
_POLL_SECONDS = 1.0
"""At least as often a waiting thread runs Python, so that a task's time limit can stop it."""
_STOP_SECONDS = 5.0
_CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT)
"""What a process does to itself; other signals come from outside."""


class SessionError(Exception):
    """ONNX Runtime refused the file or the inputs, or crashed; the caller makes a finding of it."""

    num_answered: int | None = None
    """How many inputs were answered before; None: the file itself was refused."""


def answers(
    model: Path | bytes,
    feeds: Iterable[Mapping[str, Array]],
    *,
    level: str = "all",
    threads: int | None = None,
    folder: Path | None = None,
) -> list[list[Array]]:
    """What a file answers on the CPU to one input after another, outputs in the file's order.

    Args:
        model: path of the file, or a serialised ModelProto.
        feeds: arrays by input name.
        level: of graph optimisation, `off` or `all`.
        threads: within an operator; None: as many as PyTorch has.
        folder: of the sidecars, of a model that has no path.

    Raises:
        SessionError: ONNX Runtime refuses the file or the inputs, a kernel fails or crashes.
        CrashError: its process was killed from outside, or could not be started.
    """
    with _lock:
        process = _started()
        process.open(_opening(model, level, threads, folder))
        process.await_session()
        found: list[list[Array]] = []
        try:
            for arrays in feeds:
                found.append(process.ask(arrays))
        except SessionError as error:
            error.num_answered = len(found)
            raise
        finally:
            process.end()
    return found


def prepare() -> None:
    """Start the process, unless it runs; it imports while the caller goes on."""
    with _lock:
        _started()


@contextlib.contextmanager
def opening(path: Path, *, level: str = "all", threads: int | None = None) -> Iterator[None]:
    """Open a file while the caller goes on: within this context the first `answers` of it are there sooner."""
    with _lock:
        process = _started()
        process.open(_opening(path, level, threads, None))
    try:
        yield
    finally:
        with _lock:
            process.end()


def _opening(model: Path | bytes, level: str, threads: int | None, folder: Path | None) -> dict[str, Any]:
    return {
        "model": model if isinstance(model, bytes) else str(model.resolve()),
        "folder": str(folder.resolve()) if folder else None,
        "level": level,
        "threads": threads or torch.get_num_threads(),
    }


class _Process:
    """See `session_process`."""

    def __init__(self) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  # closed when the process has ended
        self._connection, theirs = Pipe()
        path = os.pathsep.join(filter(None, (str(_PROJECT), os.environ.get("PYTHONPATH"))))
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "tasks.core.session_process", str(theirs.fileno()), str(os.getpid())],
                pass_fds=[theirs.fileno()], env={**os.environ, "PYTHONPATH": path},
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self._said,
            )  # fmt: skip
        self._is_ready = False
        self._asked: dict[str, Any] | None = None
        """What it was told to open."""
        self._is_open = False
        """Has it said that it did?"""

    def open(self, wanted: dict[str, Any]) -> None:
        """Tell it to open a session; returns at once."""
        if wanted != self._asked:
            self.end()
            self._tell(wanted)
            self._asked = wanted

    def await_session(self) -> None:
        """Wait until the session is open.

        Raises:
            SessionError, CrashError: it can't be.
        """
        if self._is_open:
            return
        if not self._is_ready:
            self._receive()
            self._is_ready = True
        try:
            self._receive()
        except SessionError:
            self._asked = None
            raise
        self._is_open = True

    def ask(self, arrays: Mapping[str, Array]) -> list[Array]:
        """What the open session answers.

        Raises:
            SessionError, CrashError: it does not.
        """
        self._tell(arrays)
        found: list[Array] = self._receive()
        return found

    def end(self) -> None:
        """Close the session, if there is one."""
        with contextlib.suppress(SessionError):
            if self._asked is not None and self.runs:
                self.await_session()
                self._tell(None)
        self._asked, self._is_open = None, False

    def _tell(self, message: Any) -> None:
        try:
            self._connection.send(message)
        except OSError:
            raise self._death() from None
        except BaseException:  # half a message may have gone
            self.close()
            raise

    def _receive(self) -> Any:
        """What it says.

        Raises:
            SessionError: why there is no answer.
        """
        try:
            while not self._connection.poll(_POLL_SECONDS):
                pass
            answer = self._connection.recv()
        except (EOFError, OSError):
            raise self._death() from None
        except BaseException:  # the answer is still to come, and nobody waits for it
            self.close()
            raise
        if isinstance(answer, str):
            raise SessionError(answer)
        return answer

    @property
    def runs(self) -> bool:
        """Can it be asked?"""
        return not self._connection.closed and self._process.poll() is None

    def close(self) -> None:
        """Stop it, at work or not."""
        self._connection.close()
        self._process.kill()
        self._process.wait(_STOP_SECONDS)
        self._said.close()

    def _death(self) -> Exception:
        """What to say of its end: a crash is the file's doing, all else is not."""
        self._connection.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_SECONDS)
        self._process.kill()
        status = self._process.wait()
        with self._said as file:
            file.seek(0)
            lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
        said = next((f": {line[:200]}" for line in reversed(lines) if line), "")
        how = f"{cause_of_death(status)}{said}"
        if not self._is_ready:
            return CrashError(f"ONNX Runtime could not be started: its process {how}; see that it imports.")
        if -status in _CRASHES:
            return SessionError(f"its process {how}")
        return CrashError(f"The process in which ONNX Runtime runs files {how}; export it again.")


_lock = threading.RLock()
_process: _Process | None = None


def _started() -> _Process:
    global _process
    if _process is None or not _process.runs:
        _process = _Process()
    return _process


def _stop() -> None:
    if _process is not None:
        _process.close()


def _forget() -> None:
    """In a copy of this process: the other one's is not to be talked to."""
    global _process, _lock
    _process, _lock = None, threading.RLock()


atexit.register(_stop)
os.register_at_fork(after_in_child=_forget)
