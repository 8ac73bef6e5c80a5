"""The run that stands for one attempt: made, filled, and closed with how it ended."""

import contextlib
import functools
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking.context.registry import resolve_tags
from mlflow.utils.mlflow_tags import MLFLOW_GIT_COMMIT, MLFLOW_USER

from tasks.core.errors import AssayError, InterruptError
from tasks.core.provenance.attempts import Attempt
from tasks.core.records.steps import Release
from tasks.core.reports.export_page import html_report
from tasks.core.reports.graph_blocks import blocks_of
from tasks.core.reports.graph_picture import as_file, graph_picture
from tasks.core.reports.markdown import Context, describe
from tasks.core.runtime.owners import owner
from tasks.core.runtime.work_folders import work_folder
from tasks.mlflow_store import entries
from tasks.mlflow_store.experiment import note_newest
from tasks.mlflow_store.pages import file_page, run_page, runs_page, version_page
from tasks.mlflow_store.releases import GRAPH_FILE, RECORD_FILE
from tasks.mlflow_store.stale import OWNER, beating, fail_models
from tasks.mlflow_store.store import connect, experiment_id_of, run_url_of, service_errors

if TYPE_CHECKING:
    from tasks.core.localisation.defects import Defect

log = logging.getLogger("assay")

REPORT_FILE = "report.html"
PICTURE_FILE = "graph.svg"
PARENT = "mlflow.parentRunId"


@dataclass
class OpenRun:
    """The run of an attempt, while it is written."""

    client: mlflow.MlflowClient
    attempt: Attempt
    experiment_id: str
    release: Release
    """The run's id and page; the logged model and the version, once there are any."""
    made_by: dict[str, str]
    """Tags that say who made it: user, command, commit."""

    def context(self, here: str) -> Context:
        """What a description says around the attempt; `here` is the label of its own page, which needs no link."""
        release, experiment_id = self.release, self.experiment_id
        links = [("Run", run_page(experiment_id, release.run_id))]
        if self.attempt.evidence:
            links.append(("Report", run_page(experiment_id, release.run_id, f"artifacts/{REPORT_FILE}")))
            links.append(("Graph", run_page(experiment_id, release.run_id, f"artifacts/{PICTURE_FILE}")))
        if release.model_id:
            links.append(("File", file_page(experiment_id, release.model_id)))
        if release.version:
            links.append(("Version", version_page(self.attempt.title, release.version)))
        return Context(
            user=self.made_by.get(MLFLOW_USER, ""),
            commit=self.made_by.get(MLFLOW_GIT_COMMIT, ""),
            version=release.version,
            links=tuple(link for link in (*links, ("All runs", runs_page(experiment_id))) if link[0] != here),
        )

    def log_metrics(self, *, model_id: str | None = None) -> None:
        """Log the attempt's figures, on a logged model, too, if one is named."""
        now = int(time.time() * 1000)
        found = entries.metrics(self.attempt).items()
        metrics = [Metric(key, value, now, 0, model_id=model_id) for key, value in found]
        self.client.log_batch(self.release.run_id, metrics=metrics)

    def mark_verdict(self) -> None:
        """Say the verdict beside the logged model, once its download was checked."""
        tags = {entries.VERDICT: self.attempt.verdict, entries.NOTE: describe(self.attempt, self.context("File"))}
        self.client.set_logged_model_tags(str(self.release.model_id), tags)

    def log_files(self, defect: "Defect | None" = None) -> None:
        """Log the records, the report and, of a wrong file, the reproduction of its defect."""
        with work_folder() as folder:
            attempt = self.attempt
            (folder / RECORD_FILE).write_text(attempt.to_json())
            graph, found = attempt.graph, None
            if graph and graph.path.is_file():  # of an attempt that failed it is gone
                found = blocks_of(graph.path)
                (folder / PICTURE_FILE).write_text(as_file(graph_picture(graph, found)), encoding="utf-8")
            if page := html_report(attempt, found):
                (folder / REPORT_FILE).write_text(page, encoding="utf-8")
            if defect is not None:
                from tasks.core.localisation import reproduction  # it imports torch, as validation has by now

                file = Path(attempt.file).name if attempt.file else GRAPH_FILE
                reproduction.write_reproduction(defect, folder / reproduction.REPRODUCTION, file=file)
            mlflow.log_artifacts(str(folder), run_id=self.release.run_id)

    def close(self, attempt: Attempt) -> None:
        """Write how the attempt ended, which nothing before may have claimed: name, verdict, description, status."""
        tags = entries.tags(attempt) if attempt.error else {}
        tags |= {entries.VERDICT: attempt.verdict, entries.NOTE: describe(attempt, self.context("Run"))}
        run_id = self.release.run_id
        self.client.log_batch(run_id, tags=[RunTag(*entry) for entry in tags.items()])
        version = self.release.version
        name = entries.run_name(attempt, version)
        self.client.update_run(run_id, name=name)
        is_interrupted = attempt.error is not None and attempt.error.type == InterruptError.__name__
        status = "FINISHED" if attempt.verdict == "pass" else "KILLED" if is_interrupted else "FAILED"
        self.client.set_terminated(run_id, status)
        page = version_page(attempt.title, version) if version else run_page(self.experiment_id, run_id)
        with contextlib.suppress(MlflowException):  # the run has ended well or badly, whoever is led to it
            note_newest(self.client, self.experiment_id, (name, page))


@contextlib.contextmanager
def open_run(attempt: Attempt) -> Iterator[OpenRun]:
    """Within this context an attempt has a run with its tags and params; at the end the verdict is written.

    What is raised within makes it a failed run, whose id and page the error is given.
    """
    with service_errors():
        client = connect()
        experiment_id = experiment_id_of(client)
        mlflow.set_experiment(experiment_id=experiment_id)  # Model.log takes no experiment of its own
        maker = made_by()
        tags = (
            entries.tags(attempt)
            | maker
            | {OWNER: owner()}
            | ({PARENT: attempt.parent_run_id} if attempt.parent_run_id else {})
        )
        run = client.create_run(experiment_id, start_time=attempt.started_ms, run_name=attempt.title, tags=tags)
    release = Release(run_id=str(run.info.run_id), run_url=run_url_of(run), changed=attempt.changed)
    opened = OpenRun(client, attempt, experiment_id, release, maker)
    try:
        with service_errors():
            client.log_batch(release.run_id, params=[Param(*entry) for entry in entries.params(attempt).items()])
            with beating(client, release.run_id):
                yield opened
            opened.close(attempt)
    except BaseException as error:
        is_gone = getattr(error, "run_id", None) == ""  # then the next command closes it
        _note_run(error, release)
        if not is_gone:
            with contextlib.suppress(Exception):  # the first error is the one to report
                fail_models(client, run)
                opened.close(attempt.ended_by(error))
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


@functools.cache
def made_by() -> dict[str, str]:
    """User, command and commit as MLflow itself would record them."""
    return {key: value for key, value in resolve_tags().items() if key == MLFLOW_USER or ".source." in key}


def _note_run(error: BaseException, release: Release) -> None:
    """Give an error the id and page of the run that recorded it."""
    error.run_id, error.run_url = release.run_id, release.run_url  # type: ignore[attr-defined]  # any exception takes them
