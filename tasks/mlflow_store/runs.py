"""The run that stands for one attempt: made, filled, and closed with how it ended."""

import contextlib
import logging
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow
from mlflow.entities import Metric, Param, RunTag

from tasks.core.errors import AssayError
from tasks.core.provenance.attempts import Attempt
from tasks.core.records.steps import Release
from tasks.core.reports.export_page import html_report
from tasks.core.reports.markdown import describe
from tasks.mlflow_store import entries
from tasks.mlflow_store.releases import GRAPH_FILE, RECORD_FILE
from tasks.mlflow_store.store import connect, experiment_id_of, run_url_of, service_errors

if TYPE_CHECKING:
    from tasks.core.localisation.defects import Defect

log = logging.getLogger("assay")

REPORT_FILE = "report.html"
PARENT = "mlflow.parentRunId"


@dataclass(frozen=True)
class OpenRun:
    """The run of an attempt, while it is written."""

    client: mlflow.MlflowClient
    attempt: Attempt
    release: Release
    """The run's id and page."""

    def log_metrics(self, *, model_id: str | None = None) -> None:
        """Log the attempt's figures, on a logged model, too, if one is named."""
        now = int(time.time() * 1000)
        found = entries.metrics(self.attempt).items()
        metrics = [Metric(key, value, now, 0, model_id=model_id) for key, value in found]
        self.client.log_batch(self.release.run_id, metrics=metrics)

    def mark_verdict(self, model_id: str | None) -> None:
        """Tag a logged model with the verdict, once its download was checked."""
        self.client.set_logged_model_tags(str(model_id), {entries.VERDICT: self.attempt.verdict})

    def log_files(self, defect: "Defect | None" = None) -> None:
        """Log the records, the report and, of a wrong file, the reproduction of its defect."""
        with tempfile.TemporaryDirectory(prefix="assay-") as name:
            folder, attempt = Path(name), self.attempt
            (folder / RECORD_FILE).write_text(attempt.to_json())
            if page := html_report(attempt):
                (folder / REPORT_FILE).write_text(page, encoding="utf-8")
            if defect is not None:
                from tasks.core.localisation import reproduction  # it imports torch, as validation has by now

                file = Path(attempt.file).name if attempt.file else GRAPH_FILE
                reproduction.write_reproduction(defect, folder / reproduction.REPRODUCTION, file=file)
            mlflow.log_artifacts(str(folder), run_id=self.release.run_id)


@contextlib.contextmanager
def open_run(attempt: Attempt) -> Iterator[OpenRun]:
    """Within this context an attempt has a run with its tags and params; at the end the verdict is written.

    What is raised within makes it a failed run, whose id and page the error is given.
    """
    with service_errors():
        client = connect()
        experiment_id = experiment_id_of(client)
        mlflow.set_experiment(experiment_id=experiment_id)  # Model.log takes no experiment of its own
        tags = entries.tags(attempt) | ({PARENT: attempt.parent_run_id} if attempt.parent_run_id else {})
        run = client.create_run(experiment_id, start_time=attempt.started_ms, run_name=attempt.title, tags=tags)
    run_id = str(run.info.run_id)
    release = Release(run_id=run_id, run_url=run_url_of(run), changed=attempt.changed)
    try:
        with service_errors():
            client.log_batch(run_id, params=[Param(*entry) for entry in entries.params(attempt).items()])
            yield OpenRun(client, attempt, release)
            _close(client, run_id, attempt)
    except BaseException as error:
        _note_run(error, release)
        with contextlib.suppress(Exception):  # the first error is the one to report
            _close(client, run_id, attempt.ended_by(error))
        raise


def log_failure(attempt: Attempt, error: BaseException) -> None:
    """Record an attempt that something ended, and give the error the run's id; where that fails, say so.

    Args:
        attempt: what is known of it.
        error: deliberate or not.
    """
    try:
        with open_run(attempt.ended_by(error)) as run:
            run.log_metrics()
            run.log_files()
        _note_run(error, run.release)
    except AssayError as failure:
        error.run_id = ""  # type: ignore[attr-defined]  # tried, in vain
        log.warning("%s could not be recorded in MLflow: %s", attempt.title, failure)


def _note_run(error: BaseException, release: Release) -> None:
    """Give an error the id and page of the run that recorded it."""
    error.run_id, error.run_url = release.run_id, release.run_url  # type: ignore[attr-defined]  # any exception takes them


def _close(client: mlflow.MlflowClient, run_id: str, attempt: Attempt) -> None:
    """Write how an attempt ended, which nothing before may have claimed."""
    tags = entries.tags(attempt) if attempt.error else {}
    tags |= {entries.VERDICT: attempt.verdict, "mlflow.note.content": describe(attempt)}
    client.log_batch(run_id, tags=[RunTag(*entry) for entry in tags.items()])
    client.set_terminated(run_id, "FAILED" if attempt.error else "FINISHED")
