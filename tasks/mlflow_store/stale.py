"""What processes that were killed left open in the store is closed by whoever starts next, with the reason."""

import contextlib
import functools
import threading
import time
from collections.abc import Iterator

import mlflow
from mlflow.entities import LoggedModelStatus, Run

from tasks.core.reports.wording import VERDICT_MARKS
from tasks.core.runtime.owners import is_alive, is_of_this_machine
from tasks.core.runtime.work_folders import sweep_work_folders
from tasks.mlflow_store.entries import KIND, NAME, VERDICT
from tasks.mlflow_store.store import TRENDS, connect, experiment_name, is_there, service_errors

OWNER = "assay.owner"
"""Tag of a run: the process that writes it, as `owners` tells it."""
HEARTBEAT = "assay.heartbeat"
"""Tag of a run that is open for more than a minute: when its process last said that it lives, since the epoch."""
BEAT_SECONDS = 60.0
SILENT_SECONDS = 24 * 3600.0
"""After which the process of another machine, which can't be looked at from here, is taken for gone."""


def clean_up() -> None:
    """Once a process: sweep work folders, close runs of the store; a ServiceError if MLflow can't be reached."""
    _clean_up(mlflow.get_tracking_uri())


@functools.cache
def _clean_up(_store: str) -> None:
    sweep_work_folders()
    if not is_there():
        return
    with service_errors():
        client = connect()
        names = (experiment_name(), experiment_name() + TRENDS)
        experiments = [found.experiment_id for name in names if (found := client.get_experiment_by_name(name))]
        if not experiments:
            return
        for run in client.search_runs(experiments, "attributes.status = 'RUNNING'", max_results=100):
            if reason := _why_stale(run):
                _close(client, run, reason)


@contextlib.contextmanager
def beating(client: mlflow.MlflowClient, run_id: str) -> Iterator[None]:
    """Within this context a run says from time to time that its process lives.

    Args:
        client: of the store.
        run_id: of the run.
    """
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(BEAT_SECONDS):
            with contextlib.suppress(Exception):  # what writes the run tells what is wrong with the store
                client.set_tag(run_id, HEARTBEAT, f"{time.time():.0f}")

    threading.Thread(target=beat, daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def fail_models(client: mlflow.MlflowClient, run: Run) -> None:
    """Close the logged models of a run whose logging was cut short.

    Args:
        client: of the store.
        run: which no longer logs them.
    """
    for model in client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'"):
        if model.status == LoggedModelStatus.PENDING:
            client.finalize_logged_model(model.model_id, LoggedModelStatus.FAILED)


def _why_stale(run: Run) -> str:
    """What became of the process that a run is of; empty: it lives, or may do so."""
    tags = run.data.tags
    writer = tags.get(OWNER, "")
    host, pid = writer.split("/")[0], writer.split("/")[-2:-1]
    if KIND not in tags:  # not Assay's
        return ""
    if writer and is_of_this_machine(writer):
        return "" if is_alive(writer) else f"its process ({pid[0]} on {host}) ended without closing it"
    silent_seconds = time.time() - float(tags.get(HEARTBEAT, run.info.start_time / 1000))
    if silent_seconds < SILENT_SECONDS:
        return ""
    return f"its process{f' on {host}' if host else ''} has said nothing for {silent_seconds / 3600:.0f} hours"


def _close(client: mlflow.MlflowClient, run: Run, reason: str) -> None:
    """Close a run: as finished where its version was registered, else as killed; a sweep may still be resumed."""
    run_id, name = run.info.run_id, run.data.tags.get(NAME, run.info.run_name)
    fail_models(client, run)
    client.set_tag(run_id, "assay.ended", reason)
    versions = client.search_model_versions(f"run_id='{run_id}'")
    is_registered = any(version.tags.get(VERDICT) == "pass" for version in versions)
    if run.data.tags[KIND] != "sweep":
        verdict = "pass" if is_registered else "error"
        label = f"{name} v{versions[0].version}" if is_registered else name
        client.update_run(run_id, name=f"{VERDICT_MARKS[verdict][0]} {label}")
        client.set_tag(run_id, VERDICT, verdict)
        if not is_registered:
            client.set_tag(run_id, "assay.error", f"CrashError: {reason}")
    client.set_terminated(run_id, "FINISHED" if is_registered else "KILLED")
