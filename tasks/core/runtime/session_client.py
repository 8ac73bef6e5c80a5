"""The owner's side of ONNX Runtime's process: start it, send it requests, receive its responses, tell why it ended."""

import contextlib
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from multiprocessing import Pipe
from pathlib import Path
from typing import Any, Self

from tasks.core.arrays import Array
from tasks.core.errors import CrashError, SpecError, cause_of_death
from tasks.core.runtime import owned_processes

VARIABLE = "ASSAY_RUN_SECONDS"
RUN_SECONDS = 300
_POLL_SECONDS = 1.0
"""At least as often a waiting thread runs Python code, where the exception of a task's time limit can be raised."""
_STOP_SECONDS = 5.0
_CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGTRAP)
"""Signals that a process raises by what it does; others are sent to it from outside."""


class SessionError(Exception):
    """ONNX Runtime refused the file or the inputs, or crashed; the caller makes a finding of it."""

    num_answered: int | None = None
    """How many inputs were answered before; None: the file itself was refused."""


class SessionClient:
    """One process that runs `session_process`, with at most one open session. Requests and responses are numbered."""

    def __init__(self) -> None:
        """Start the process; it imports while the caller goes on."""
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  # closed when the process has ended
        self._connection, theirs = Pipe()
        with theirs:
            handle = theirs.fileno()
            self._process = owned_processes.start(
                "tasks.core.runtime.session_process", str(handle), pass_fds=[handle], stderr=self._stderr
            )
        self._num_sent = 0
        self._has_responded = False
        self._session: dict[str, Any] | None = None
        """What it was last told to open."""
        self._opening: int | None = None
        """The number of that request, while its response is to come."""

    @property
    def runs(self) -> bool:
        """Can it be sent requests?"""
        return not self._connection.closed and self._process.poll() is None

    def open(
        self,
        model: Path | bytes,
        *,
        level: str,
        threads: int | None,
        folder: Path | None,
        without: Sequence[str] = (),
        arena: bool = False,
    ) -> None:
        """Request a session, unless it is the one that is open; returns at once.

        Args:
            model: path of the file, or a serialised ModelProto.
            level: of graph optimisation, one of `LEVELS`.
            threads: within an operator; None: as many as PyTorch has.
            folder: of the sidecars, of a model that has no path.
            without: names of optimisation passes that are left out.
            arena: keep memory for the next run, as ONNX Runtime does by default.
        """
        session = {
            "model": model if isinstance(model, bytes) else str(model.resolve()),
            "folder": str(folder.resolve()) if folder else None,
            "level": level,
            "without": tuple(without),
            "threads": threads or _num_threads(),
            "arena": arena,
        }
        if session != self._session:
            self._opening = self._send("open", session)
            self._session = session

    def answers(self, feeds: Iterable[Mapping[str, Array]]) -> list[list[Array]]:
        """Run the session on arrays by input name, one after another, and close it; outputs in the file's order."""
        outputs: list[list[Array]] | None = None
        try:
            self._wait_until_open()
            outputs = []
            for arrays in feeds:
                outputs.append(self._receive(self._send("run", arrays)))
        except SessionError as error:
            error.num_answered = None if outputs is None else len(outputs)
            self.close_session()
            raise
        self.close_session()
        return outputs

    def seconds(self, arrays: Mapping[str, Array], *, num_runs: int) -> list[float]:
        """How long each of several runs of the session takes; it stays open.

        Args:
            arrays: by input name.
            num_runs: one after another.
        """
        self._wait_until_open()
        found: list[float] = self._receive(self._send("time", (dict(arrays), num_runs)))
        return found

    def close_session(self) -> None:
        """Request that the session be closed, if there is one; returns at once."""
        if self._session is not None and self.runs:
            self._send("close", None)
        self._session = self._opening = None

    def kill(self) -> int | None:
        """End the process, at work or not; its exit status as `subprocess` gives it, None if it can't be killed."""
        self._connection.close()
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_SECONDS)
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._stderr.close()
        return self._process.returncode

    @contextlib.contextmanager
    def killed_if_interrupted(self) -> Iterator[Self]:
        """Kill the process where anything but a SessionError leaves this context: half a request may have been sent."""
        try:
            yield self
        except SessionError:
            raise
        except BaseException:
            self.kill()
            raise

    def _wait_until_open(self) -> None:
        if self._opening is not None:
            number, self._opening = self._opening, None
            self._receive(number)

    def _send(self, verb: str, content: Any) -> int:
        self._num_sent += 1
        try:
            self._connection.send((self._num_sent, verb, content))
        except OSError:
            raise self._death() from None
        return self._num_sent

    def _receive(self, number: int) -> Any:
        """Wait for the response to a request; earlier ones are dropped, as nobody waits for them any more."""
        answered, seconds = None, _run_seconds()
        latest = time.monotonic() + seconds
        try:
            while answered != number:
                while not self._connection.poll(_POLL_SECONDS):
                    if time.monotonic() > latest:
                        self.kill()
                        raise CrashError(
                            f"ONNX Runtime was stopped, as the file did not answer within {seconds:g} s and may never "
                            f"end; set {VARIABLE} to more if it would."
                        )
                answered, outcome, content = self._connection.recv()
                self._has_responded = True
        except (EOFError, OSError):
            raise self._death() from None
        if outcome == "memory":
            raise CrashError(f"ONNX Runtime found too little memory ({content}); free some, or use a smaller batch.")
        if outcome == "refused":
            raise SessionError(content)
        return content

    def _death(self) -> Exception:
        """Clean up after the process, and tell its end: a crash is the file's doing, all else is not."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_SECONDS)
        self._stderr.seek(0)
        lines = [line.strip() for line in self._stderr.read().decode(errors="replace").splitlines()]
        said = next((f": {line[:200]}" for line in reversed(lines) if line), "")
        status = self.kill()
        how = f"{cause_of_death(status)}{said}"
        if not self._has_responded:
            return CrashError(f"ONNX Runtime could not be started: its process {how}; see that it imports.")
        if status is not None and -status in _CRASHES:
            return SessionError(f"its process {how}")
        return CrashError(f"The process in which ONNX Runtime runs files {how}; run it again.")


def _run_seconds() -> float:
    """After which a file is given up that is being opened or answers one input."""
    text = os.environ.get(VARIABLE) or str(RUN_SECONDS)
    if not re.fullmatch(r"\d{1,7}(\.\d+)?", text):
        raise SpecError(f"{VARIABLE}={text} is no number of seconds; write e.g. {VARIABLE}=3600.")
    return float(text)


def _num_threads() -> int:
    import torch  # here: whoever says how many need not wait for it

    return int(torch.get_num_threads())
