"""Where a sweep's models are exported: warm processes of this machine, or of the machines of a Dask cluster."""

import contextlib
import functools
import logging
import os
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import psutil
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from flows.processes.dask_address import LOCAL
from flows.processes.export_here import export_here
from flows.processes.warm_process import WarmProcesses
from tasks.core.errors import ServiceError, SpecError
from tasks.core.provenance.manifest import assay_sha256, package_versions
from tasks.core.records.record import Record
from tasks.core.records.steps import ExportResult
from tasks.core.spec.export_spec import ResolvedSpec

PROCESS_BYTES = 3e9
"""Memory for a process with PyTorch and a model of middling size."""
CONNECT_SECONDS = 10


class Terms(Record):
    """What all exports of a sweep share, on any machine."""

    force: bool
    timeout_seconds: float
    parent_run_id: str
    """MLflow run of the sweep."""
    environment: dict[str, str]
    """As `services` gives it."""
    software: dict[str, str]
    """As `software` gives it; a worker must have the same."""


_of_this_machine: ContextVar[WarmProcesses] = ContextVar("warm processes of a sweep on this machine")


def software() -> dict[str, str]:
    """Hash of Assay's code, and versions of the packages that shape the files."""
    return {"assay": assay_sha256(), **package_versions()}


def export_warm(spec: ResolvedSpec, terms: Terms) -> ExportResult:
    """Export one model in a warm process of this machine.

    Args:
        spec: what to export.
        terms: of the sweep.

    Raises:
        CrashError: the process died or took too long.
        SpecError: this machine has other code than the one that asks.
    """
    if terms.software != software():
        raise SpecError(f"{spec.title}: this worker has another version of Assay or PyTorch; install the same on all.")
    processes = _of_this_machine.get(None) or _of_this_worker()
    return processes.run(
        spec.title, terms.timeout_seconds, export_here, spec,
        force=terms.force, parent_run_id=terms.parent_run_id, environment=terms.environment,
        timing=False,  # other exports use the same cores
    )  # fmt: skip


@contextlib.contextmanager
def local_workers(num_processes: int | None) -> Iterator[tuple[TaskRunner[Any], WarmProcesses]]:
    """A task runner for `export_warm` on this machine, and its processes.

    Args:
        num_processes: how many export at once; None: as cores and memory allow.
    """
    cores = len(os.sched_getaffinity(0))
    number = num_processes or max(1, min(cores, int(psutil.virtual_memory().available / PROCESS_BYTES)))
    with contextlib.closing(WarmProcesses(num_threads=max(1, cores // number), is_silent=True)) as processes:
        token = _of_this_machine.set(processes)  # the runner's threads have the context of who submits to it
        try:
            yield ThreadPoolTaskRunner(max_workers=number), processes
        finally:
            _of_this_machine.reset(token)


@contextlib.contextmanager
def dask_workers(address: str, num_processes: int | None) -> Iterator[tuple[TaskRunner[Any], WarmProcesses]]:
    """A task runner for `export_warm` on the workers of a Dask cluster, and one process here to check specs in.

    Args:
        address: of the scheduler, `tcp://HOST:PORT`; or `local` for a cluster on this machine.
        num_processes: workers of a local cluster; None: as cores allow.

    Raises:
        ServiceError: the scheduler could not be reached, or has no workers.
    """
    import distributed
    from prefect_dask.task_runners import DaskTaskRunner

    with contextlib.ExitStack() as stack:
        if address == LOCAL:
            cores = len(os.sched_getaffinity(0))
            number = num_processes or cores
            os.environ["OMP_NUM_THREADS"] = str(max(1, cores // number))
            cluster = distributed.LocalCluster(
                n_workers=number, threads_per_worker=1, memory_limit=None, dashboard_address=":0",
                silence_logs=logging.ERROR,
            )  # fmt: skip
            address = stack.enter_context(cluster).scheduler_address
        _check_scheduler(address)
        processes = stack.enter_context(contextlib.closing(WarmProcesses(num_threads=1, is_silent=True)))
        yield DaskTaskRunner(address=address), processes


def _check_scheduler(address: str) -> None:
    import distributed

    try:
        with distributed.Client(address, timeout=CONNECT_SECONDS, set_as_default=False) as client:
            workers = client.scheduler_info(n_workers=-1)["workers"]
    except (OSError, ValueError, TimeoutError) as error:
        raise ServiceError(
            f"The Dask scheduler at {address} could not be reached ({error}); start one with `dask scheduler` and name "
            f"it as --dask tcp://HOST:PORT."
        ) from error
    if not workers:
        raise ServiceError(f"The Dask scheduler at {address} has no workers; start some with `dask worker {address}`.")


@functools.cache
def _of_this_worker() -> WarmProcesses:
    """Those of a Dask worker; as many run at once as it has threads, which share its cores."""
    import distributed

    cores = int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))
    num_threads = max(1, cores // distributed.get_worker().state.nthreads)
    return WarmProcesses(num_threads=num_threads, is_silent=True)
