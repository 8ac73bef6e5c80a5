"""Answers of ONNX Runtime, from a process of its own.

A file that makes ONNX Runtime crash costs that process, and is a finding; what a model's code does to its own process
does not reach it. docs/decisions/8-sessions.md says more.
"""

import atexit
import contextlib
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import torch

from tasks.core.arrays import Array
from tasks.core.errors import CrashError, cause_of_death
from tasks.core.runtime import owned_processes

_POLL_SECONDS = 1.0
"""At least as often a waiting thread runs Python, so that a task's time limit can stop it."""
_STOP_SECONDS = 5.0
_CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGTRAP)
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

    An output that NumPy has no dtype for, or that is a sequence, is an array of objects.

    Args:
        model: path of the file, or a serialised ModelProto.
        feeds: arrays by input name.
        level: of graph optimisation, `off` or `all`.
        threads: within an operator; None: as many as PyTorch has.
        folder: of the sidecars, of a model that has no path.

    Raises:
        SessionError: ONNX Runtime refuses the file or the inputs, a kernel fails or crashes.
        CrashError: its process was killed from outside, ran out of memory, or could not be started.
    """
    with _lock, _whole(_started()) as process:
        process.open(_opening(model, level, threads, folder))
        found: list[list[Array]] | None = None
        try:
            process.await_session()
            found = []
            for arrays in feeds:
                found.append(process.ask(arrays))
        except SessionError as error:
            error.num_answered = None if found is None else len(found)
            process.end()
            raise
        process.end()
    return found


def prepare() -> None:
    """Start the process, unless it runs; it imports while the caller goes on."""
    with _lock:
        _started()


@contextlib.contextmanager
def opening(path: Path, *, level: str = "all", threads: int | None = None) -> Iterator[None]:
    """Open a file while the caller goes on: within this context the first `answers` of it are there sooner."""
    with _lock, _whole(_started()) as process:
        process.open(_opening(path, level, threads, None))
    try:
        yield
    except BaseException:
        if _lock.acquire(blocking=False):  # else another thread has work for it
            process.close()
            _lock.release()
        raise
    with _lock, _whole(process):
        process.end()


def _opening(model: Path | bytes, level: str, threads: int | None, folder: Path | None) -> dict[str, Any]:
    return {
        "model": model if isinstance(model, bytes) else str(model.resolve()),
        "folder": str(folder.resolve()) if folder else None,
        "level": level,
        "threads": threads or torch.get_num_threads(),
    }


class _Process:
    """See `session_process`. Each question has a number, and so has its answer."""

    def __init__(self) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  # closed when the process has ended
        self._connection, theirs = Pipe()
        with theirs:
            handle = theirs.fileno()
            self._process = owned_processes.start(
                "tasks.core.runtime.session_process", str(handle), pass_fds=[handle], stderr=self._said
            )
        self._num_asked = 0
        self._is_ready = False
        """Did it ever say anything?"""
        self._wanted: dict[str, Any] | None = None
        """What it was last told to open."""
        self._opening: int | None = None
        """The number of that, while its answer is to come."""

    def open(self, wanted: dict[str, Any]) -> None:
        """Tell it to open a session, unless it did; returns at once."""
        if wanted != self._wanted:
            self._opening = self._tell("open", wanted)
            self._wanted = wanted

    def await_session(self) -> None:
        """Wait until the session is open.

        Raises:
            SessionError, CrashError: it can't be.
        """
        if self._opening is not None:
            number, self._opening = self._opening, None
            self._receive(number)

    def ask(self, arrays: Mapping[str, Array]) -> list[Array]:
        """What the open session answers.

        Raises:
            SessionError, CrashError: it does not.
        """
        found: list[Array] = self._receive(self._tell("run", arrays))
        return found

    def end(self) -> None:
        """Have the session closed, if there is one; returns at once."""
        if self._wanted is not None and self.runs:
            self._tell("close", None)
        self._wanted = self._opening = None

    def _tell(self, verb: str, content: Any) -> int:
        self._num_asked += 1
        try:
            self._connection.send((self._num_asked, verb, content))
        except OSError:
            raise self._ended() from None
        return self._num_asked

    def _receive(self, number: int) -> Any:
        """Its answer to a question; others are of questions whose answer nobody awaits any more.

        Raises:
            SessionError, CrashError: there is none.
        """
        try:
            while True:
                while not self._connection.poll(_POLL_SECONDS):
                    if self._process.poll() is not None and not self._connection.poll():
                        raise EOFError  # another process may hold the other end
                answered, outcome, content = self._connection.recv()
                self._is_ready = True
                if answered == number:
                    break
        except (EOFError, OSError):
            raise self._ended() from None
        if outcome == "memory":
            raise CrashError(f"ONNX Runtime found too little memory ({content}); free some, or use a smaller batch.")
        if outcome == "refused":
            raise SessionError(content)
        return content

    @property
    def runs(self) -> bool:
        """Can it be asked?"""
        return not self._connection.closed and self._process.poll() is None

    def close(self) -> None:
        """Stop it, at work or not."""
        self._connection.close()
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_SECONDS)
        self._said.close()

    def _ended(self) -> Exception:
        """Clear up, and say what to raise: a crash is the file's doing, all else is not."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_SECONDS)
        self._process.kill()
        status = self._process.wait()
        self._said.seek(0)
        lines = [line.strip() for line in self._said.read().decode(errors="replace").splitlines()]
        self.close()
        said = next((f": {line[:200]}" for line in reversed(lines) if line), "")
        how = f"{cause_of_death(status)}{said}"
        if not self._is_ready:
            return CrashError(f"ONNX Runtime could not be started: its process {how}; see that it imports.")
        if -status in _CRASHES:
            return SessionError(f"its process {how}")
        return CrashError(f"The process in which ONNX Runtime runs files {how}; run it again.")


@contextlib.contextmanager
def _whole(process: _Process) -> Iterator[_Process]:
    """Whatever interrupts this context but a refusal ends the process: it may be at work, or half told something."""
    try:
        yield process
    except SessionError:
        raise
    except BaseException:
        process.close()
        raise


_lock = threading.Lock()
_process: _Process | None = None


def _started() -> _Process:
    global _process
    if _process is None or not _process.runs:
        _stop()
        try:
            _process = _Process()
        except OSError as error:
            raise CrashError(f"ONNX Runtime could not be started: {error}; see that it imports.") from error
    return _process


def _stop() -> None:
    if _process is not None:
        _process.close()


def _forget() -> None:
    """In a copy of this process: the other one's is not to be talked to."""
    global _process, _lock
    _process, _lock = None, threading.Lock()


atexit.register(_stop)
os.register_at_fork(after_in_child=_forget)
