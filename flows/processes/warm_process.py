"""Processes that have imported PyTorch and the exporters, a fresh one for each call.

What kills such a process, or hangs in it, costs the one model it was at. They are forked from a server that has done
the imports and nothing else, so that a new one is ready at once.
"""

import contextlib
import functools
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, ParamSpec, TypeVar

from tasks.core.errors import CrashError, ServiceError, cause_of_death
from tasks.core.runtime.descriptors import leave_descriptors
from tasks.core.runtime.interruptions import listen
from tasks.core.runtime.owned_processes import end_with_owner

P = ParamSpec("P")
T = TypeVar("T")

IMPORTS = (
    "flows.export", "tasks.core.export.fallback", "tasks.core.model.building", "tasks.core.proof.validation",
    "git", "mlflow.pyfunc", "mlflow.store.model_registry.sqlalchemy_store", "prefect.flow_engine",
)  # fmt: skip
"""The flow, and what its steps and the libraries import when they first need it."""
PRELOADED = [
    *IMPORTS,
    "tasks.core.reference.module", "tasks.core.runtime.reservations",
    "mlflow.store.model_registry.sqlalchemy_workspace_store", "mlflow.store.tracking.sqlalchemy_workspace_store",
    "onnxscript", "prefect.concurrency.sync", "sqlalchemy.dialects.sqlite", "torch.onnx._internal.exporter._core",
    "torchvision.models",
]  # fmt: skip
"""What else a model's process would import: 0.7 s a model."""
_STOP_SECONDS = 10.0
_lock = threading.Lock()
"""Held to start and to reap a process: multiprocessing reaps others where it starts one, and not thread-safely."""


class WarmProcesses:
    """Runs each call in a process of its own, from as many threads as call it."""

    def __init__(self, *, num_threads: int | None = None, is_silent: bool = False) -> None:
        """Start the server that forks them; it imports while the caller goes on.

        Args:
            num_threads: of PyTorch and ONNX Runtime in each process; None: as they have it.
            is_silent: send what a process prints to standard error, and what the steps log nowhere.

        Raises:
            ServiceError: the path of the temporary folder is too long for a socket.
        """
        self._prepare = functools.partial(_prepare, num_threads, is_silent)
        self._running: set[BaseProcess] = set()
        self._is_closed = False
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(PRELOADED)
        # a Dask worker is daemonic, and such may have no children lest they outlive it; these end with their owner
        multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
        try:
            forkserver.ensure_running()
        except OSError as error:  # its socket lies in the temporary folder, and an address has about 100 characters
            raise ServiceError(
                f"Processes can't be started ({error}); set TMPDIR to a folder with a short path."
            ) from error

    def run(self, what: str, max_seconds: float, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function in a new process and give what it returns or raises.

        Args:
            what: is being done, for the sentence if it fails.
            max_seconds: after which the process is stopped.
            call: a function that can be pickled, as its arguments and what it returns can.
            args: of the function.
            kwargs: of the function.

        Raises:
            CrashError: the process died, or took too long, or `close` was called.
        """
        receiver, sender = self._context.Pipe(duplex=False)
        work = functools.partial(call, *args, **kwargs)
        process = self._context.Process(target=_work, args=(sender, self._prepare, work))
        answer, grace_seconds = None, 0.0
        with receiver:
            try:
                with _lock, sender:
                    process.start()
            except (OSError, EOFError) as error:
                raise CrashError(f"{what}: its process could not be started ({error}); try again.") from None
            try:
                self._running.add(process)
                if wait([receiver, process.sentinel], 0 if self._is_closed else max_seconds):
                    grace_seconds = _STOP_SECONDS
                    with contextlib.suppress(EOFError, OSError):  # it may end before it has sent all
                        answer = receiver.recv() if receiver.poll() else None
            finally:
                status = _end(process, grace_seconds)
                self._running.discard(process)
        if self._is_closed:
            raise CrashError(f"{what} was stopped; a sweep goes on with --resume.")
        if answer is None:
            raise _failure(what, max_seconds, status if grace_seconds else None)
        returned: T
        returned, raised = answer
        if raised is not None:
            raise raised
        return returned

    def close(self) -> None:
        """Stop all processes, at work or not; calls fail from now on."""
        self._is_closed = True
        running = tuple(self._running)
        for process in running:
            process.terminate()
        for process in running:
            _end(process, _STOP_SECONDS)


def _end(process: BaseProcess, grace_seconds: float) -> int | None:
    """Wait for the end of a process, then stop it and at last kill it; its exit status."""
    if not wait([process.sentinel], grace_seconds):
        process.terminate()
        if not wait([process.sentinel], _STOP_SECONDS):
            process.kill()
    with _lock:
        process.join()
    return process.exitcode


def _failure(what: str, max_seconds: float, status: int | None) -> CrashError:
    """The error of a call without an answer; a status of None means that the time was up."""
    if status is None:
        return CrashError(
            f"{what}: its process was stopped, as it took longer than {max_seconds:g} s; see where it hangs with "
            f"flows/export.py {what}, or allow a sweep more with --timeout."
        )
    how = cause_of_death(status) if status else "was ended by its own code (os._exit)"
    return CrashError(f"{what}: its process {how}; nothing else was lost.")


def _work(sender: Connection, prepare: Callable[[], None], work: Callable[[], Any]) -> None:
    """In the new process: send what the work returns or raises."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the owner
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    listen(signal.SIGTERM)  # so that the work cleans up when it is stopped
    owner = multiprocessing.parent_process()
    assert owner is not None
    end_with_owner(owner.sentinel)
    prepare()
    answer: tuple[Any, BaseException | None]
    try:
        answer = work(), None
    except BaseException as error:  # whatever a model's code raises is for the owner
        answer = None, error
    with sender, contextlib.suppress(BrokenPipeError):  # nobody may wait for it any more
        sender.send(answer)


def _prepare(num_threads: int | None, is_silent: bool) -> None:
    """Set the threads of PyTorch, and where this process prints."""
    if num_threads is not None:
        import torch

        torch.set_num_threads(num_threads)
    if is_silent:
        os.dup2(2, 1)  # what a model prints is no result
    leave_descriptors()
    if is_silent and not os.environ.get("PREFECT_LOGGING_EXTRA_LOGGERS"):
        logging.getLogger("assay").propagate = False  # what the steps say would mix with the lines of the sweep
