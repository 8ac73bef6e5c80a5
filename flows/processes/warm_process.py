"""Processes that have imported PyTorch and the exporters, a fresh one for each model.

What kills such a process (a segmentation fault in an exporter, the kernel's memory killer) or hangs in it costs
the one model it was at. They are forked from a server that has done the imports and nothing else, so that the
imports are paid once, and a new process is ready at once.
"""

import concurrent.futures
import contextlib
import logging
import multiprocessing
import os
import queue
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from concurrent.futures.process import BrokenProcessPool
from typing import Any, ParamSpec, TypeVar

from pebble import ProcessExpired, ProcessPool

from tasks.core.errors import CrashError, cause_of_death
from tasks.core.runtime.owned_processes import end_with_owner

P = ParamSpec("P")
T = TypeVar("T")

PRELOADED = [
    "flows.export",
    # what the steps import when they run
    "tasks.core.export.fallback",
    "tasks.core.model.building",
    "tasks.core.model.preflight",
    "tasks.core.proof.validation",
    "tasks.core.reference.module",
    "tasks.core.runtime.reservations",
    "tasks.core.weights.state_dicts",
    # what these and the libraries import when they first need it: 0.7 s a model
    "git",
    "mlflow.pyfunc",
    "mlflow.store.model_registry.sqlalchemy_workspace_store",
    "mlflow.store.tracking.sqlalchemy_workspace_store",
    "onnxscript",
    "prefect.concurrency.sync",
    "prefect.flow_engine",
    "sqlalchemy.dialects.sqlite",
    "torch.onnx._internal.exporter._core",
    "torchvision.models",
]
_STOP_SECONDS = 10.0
_LEFT_STATUS = 86
"""In place of 0, of a process that ended before it was done."""


class WarmProcess:
    """One such process at a time, replaced by a new one after each call."""

    def __init__(self, *, num_threads: int | None = None, is_silent: bool = False) -> None:
        """Start it; it imports while the caller goes on.

        Args:
            num_threads: of PyTorch and ONNX Runtime; None: as they have it.
            is_silent: what it prints goes to standard error, and what the steps say nowhere.
        """
        self._num_threads = num_threads
        self._is_silent = is_silent
        self._pool = self._start()
        self._call: Future[Any] | None = None
        self._is_closed = False

    def run(self, what: str, max_seconds: float, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function there and give what it returns or raises.

        Args:
            what: is being done, for the sentence if it fails.
            max_seconds: after which the process is killed.
            call: a function that can be pickled.
            args: of the function.
            kwargs: of the function.

        Raises:
            CrashError: the process died, or took too long.
        """
        future = self._call = self._pool.schedule(_called, (call, args, kwargs), timeout=max_seconds)
        if self._is_closed:
            future.cancel()
        try:
            result: T = future.result()
        except CancelledError:
            raise CrashError(f"{what} was stopped; a sweep goes on with --resume.") from None
        except ProcessExpired as error:
            raise CrashError(f"{what}: its process {_cause_of_death(error.exitcode)}; nothing else was lost.") from None
        except TimeoutError:
            raise CrashError(
                f"{what}: its process was stopped, as it took longer than {max_seconds:g} s; see where it hangs with "
                f"flows/export.py {what}, or allow a sweep more with --timeout."
            ) from None
        except BrokenProcessPool as error:
            self._pool = self._start()
            raise CrashError(f"{what}: its process could not be talked to ({error}); try again.") from None
        return result

    def close(self) -> None:
        """Stop it, at work or not."""
        self._is_closed = True
        if self._call is not None:
            self._call.cancel()
            concurrent.futures.wait([self._call], timeout=_STOP_SECONDS)
        self._pool.stop()
        self._pool.join()

    def _start(self) -> ProcessPool:
        # a Dask worker is daemonic, and such may have no children lest they outlive it; these end with their owner
        multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        # one model each: what its code does to PyTorch, as another default dtype, must not reach the next one's proof
        prepare = (self._num_threads, self._is_silent)
        pool = ProcessPool(1, 1, initializer=_prepare, initargs=prepare, context=context)
        assert pool.active, "asking starts it"
        return pool


class WarmProcesses:
    """A number of them, for as many threads to take one each."""

    def __init__(self, num_processes: int, *, num_threads: int) -> None:
        self._all = [WarmProcess(num_threads=num_threads, is_silent=True) for _ in range(num_processes)]
        self._free: queue.SimpleQueue[WarmProcess] = queue.SimpleQueue()
        for process in self._all:
            self._free.put(process)

    @contextlib.contextmanager
    def taken(self) -> Iterator[WarmProcess]:
        """One of them for oneself; waits until one is free."""
        process = self._free.get()
        try:
            yield process
        finally:
            self._free.put(process)

    def close(self) -> None:
        """Stop all, at work or not."""
        for process in self._all:
            process.close()


def _prepare(num_threads: int | None, is_silent: bool) -> None:
    """Get a new process ready, and let it end with its owner, however that ends."""
    import torch

    if num_threads is not None:
        torch.set_num_threads(num_threads)
    if is_silent:
        os.dup2(2, 1)  # what a model prints is no result
    if is_silent and not os.environ.get("PREFECT_LOGGING_EXTRA_LOGGERS"):
        logging.getLogger("assay").propagate = False  # what the steps say would mix with the lines of the sweep
    owner = multiprocessing.parent_process()
    assert owner is not None
    end_with_owner(owner.sentinel)


def _called(call: Callable[P, T], args: Any, kwargs: Any) -> T:
    """Call a function so that it cleans up when it is stopped, and can't end the process as though all were well."""
    terminate, leave = signal.signal(signal.SIGTERM, signal.default_int_handler), os._exit
    os._exit = lambda status: leave(status or _LEFT_STATUS)
    try:
        return call(*args, **kwargs)
    finally:
        os._exit = leave
        signal.signal(signal.SIGTERM, terminate)


def _cause_of_death(status: int | None) -> str:
    return "was ended by its own code (os._exit)" if status == _LEFT_STATUS else cause_of_death(status)
