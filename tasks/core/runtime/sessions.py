"""What ONNX Runtime answers to a file's inputs, from a process of its own, one for each process that asks.

A file that makes ONNX Runtime crash costs that process, and is a finding; what a model's code does to its own process
does not reach it. docs/decisions/8-sessions.md says more.
"""

import atexit
import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from tasks.core.arrays import Array
from tasks.core.errors import CrashError
from tasks.core.runtime.session_client import SessionClient, SessionError

__all__ = ["SessionError", "answers", "opening", "prepare", "timing"]

_lock = threading.Lock()
_client: SessionClient | None = None


def answers(
    model: Path | bytes,
    feeds: Iterable[Mapping[str, Array]],
    *,
    level: str = "all",
    threads: int | None = None,
    folder: Path | None = None,
    without: Sequence[str] = (),
) -> list[list[Array]]:
    """Run a file on the CPU with one input after another; outputs are in the file's order.

    An output that NumPy has no dtype for, or that is a sequence, is an array of objects.

    Args:
        model: path of the file, or a serialised ModelProto.
        feeds: arrays by input name.
        level: of graph optimisation, one of `LEVELS`.
        threads: within an operator; None: as many as PyTorch has.
        folder: of the sidecars, of a model that has no path.
        without: names of optimisation passes, of `PASSES`, that are left out.

    Raises:
        SessionError: ONNX Runtime refuses the file or the inputs, a kernel fails or crashes.
        CrashError: its process was killed from outside, ran out of memory, or could not be started.
    """
    with _lock, _started().killed_if_interrupted() as client:
        client.open(model, level=level, threads=threads, folder=folder, without=without)
        return client.answers(feeds)


def prepare() -> None:
    """Start the process, unless it runs; it imports while the caller goes on."""
    with _lock:
        _started()


@contextlib.contextmanager
def opening(path: Path, *, threads: int | None = None) -> Iterator[None]:
    """Open a file while the caller goes on: within this context the first `answers` of it are there sooner.

    Args:
        path: of the file.
        threads: within an operator; None: as many as PyTorch has.
    """
    with _lock, _started().killed_if_interrupted() as client:
        client.open(path, level="all", threads=threads, folder=None)
    try:
        yield
    except BaseException:
        if _lock.acquire(blocking=False):  # else another thread has work for it
            client.kill()
            _lock.release()
        raise
    with _lock, client.killed_if_interrupted():
        client.close_session()


@contextlib.contextmanager
def timing(path: Path, arrays: Mapping[str, Array]) -> Iterator[Callable[[int], list[float]]]:
    """Open a file with ONNX Runtime's own defaults, with as many threads as PyTorch has, while the caller goes on.

    Within this context, in which others have to wait, the function given does so many runs, and tells how long each
    took; a SessionError if ONNX Runtime refuses them.

    Args:
        path: of the file.
        arrays: by input name.
    """
    with _lock, _started().killed_if_interrupted() as client:
        client.open(path, level="all", threads=None, folder=None, arena=True)
        try:
            yield lambda num_runs: client.seconds(arrays, num_runs=num_runs)
        except SessionError:
            client.close_session()
            raise
        client.close_session()


def _started() -> SessionClient:
    global _client
    if _client is None or not _client.runs:
        _stop()
        try:
            _client = SessionClient()
        except OSError as error:
            raise CrashError(f"ONNX Runtime could not be started: {error}; see that it imports.") from error
    return _client


def _stop() -> None:
    if _client is not None:
        _client.kill()


def _forget() -> None:
    """In a fork of this process: the client is the other one's."""
    global _client, _lock
    _client, _lock = None, threading.Lock()


atexit.register(_stop)
os.register_at_fork(after_in_child=_forget)
