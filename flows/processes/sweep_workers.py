"""Where a sweep's models are exported: warm processes of this machine, or of the machines of a Dask cluster."""

import contextlib
import logging
import os
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import psutil
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

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
LOCAL = "local"


class Terms(Record):
    """What holds for every model of a sweep, wherever it is exported."""

    force: bool
    timeout_seconds: float
    parent_run_id: str
    """MLflow run of the sweep."""
    environment: dict[str, str]
    """Variables that say where MLflow and Prefect are."""
    assay: str
    """Hash of the code, which a worker must have, too."""
    versions: dict[str, str]
    """Of the packages that shape the files."""


_here: WarmProcesses | None = None
"""The warm processes that belong to this one."""
_making = threading.Lock()


def export_warm(spec: ResolvedSpec, terms: Terms) -> ExportResult:
    """Export one model in a warm process of this machine.

    Raises:
        CrashError: the process died or took too long.
        SpecError: this machine has other code than the one that asks.
    """
    if (terms.assay, terms.versions) != (assay_sha256(), package_versions()):
        raise SpecError(f"{spec.title}: this worker has another version of Assay or PyTorch; install the same on all.")
    with _processes().taken() as process:
        return process.run(
            spec.title, terms.timeout_seconds, export_here, spec,
            force=terms.force, parent_run_id=terms.parent_run_id, environment=terms.environment,
        )  # fmt: skip


@contextlib.contextmanager
def local_workers(num_processes: int | None) -> Iterator[tuple[TaskRunner[Any], WarmProcesses]]:
    """A task runner for `export_warm` on this machine, and its processes.

    Args:
        num_processes: None: as cores and memory allow.
    """
    global _here
    cores = len(os.sched_getaffinity(0))
    number = num_processes or max(1, min(cores, int(psutil.virtual_memory().available / PROCESS_BYTES)))
    _here = WarmProcesses(number, num_threads=max(1, cores // number))
    try:
        yield ThreadPoolTaskRunner(max_workers=number), _here
    finally:
        _here.close()
        _here = None


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
        processes = WarmProcesses(1, num_threads=1)
        stack.callback(processes.close)
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


def is_this_machine(address: str) -> bool:
    """Do the workers of this scheduler, as far as its address tells, run here?"""
    return address == LOCAL or urlsplit(address).hostname in ("127.0.0.1", "localhost", "::1")


def _processes() -> WarmProcesses:
    """This process's own; a Dask worker makes as many as it has threads, when it first needs one."""
    global _here
    with _making:
        if _here is None:
            import distributed

            cores = int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))
            number = distributed.get_worker().state.nthreads
            _here = WarmProcesses(number, num_threads=max(1, cores // number))
        return _here
