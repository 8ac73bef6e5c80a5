"""Step 6: log everything to MLflow, prove what can be downloaded again, register it."""

import contextlib
import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from prefect import task
from prefect.artifacts import create_link_artifact
from prefect.cache_policies import NO_CACHE

from tasks.core.errors import ExportError
from tasks.core.hashes import file_sha256
from tasks.core.provenance.attempts import Attempt
from tasks.core.records.steps import Graph, Release
from tasks.core.reports.export_page import html_report
from tasks.mlflow_store.flavor import ProvenFile, signature_of
from tasks.mlflow_store.releases import ALIAS, GRAPH_FILE, RECORD_FILE, download_graph
from tasks.mlflow_store.store import connect, experiment_id_of, run_url_of, service_errors, version_url_of

if TYPE_CHECKING:
    from tasks.core.proof.witness import Witness

log = logging.getLogger("assay")

REPORT_FILE = "report.html"


@task(task_run_name="log-{attempt.title}", timeout_seconds=3600, cache_policy=NO_CACHE, persist_result=False)
def log_export(attempt: Attempt, witness: "Witness | None") -> Release:
    """Log an attempt, bad or good; register and promote it if what was downloaded again is right.

    Raises:
        ServiceError: the tracking server could not be reached.
        ExportError: the downloaded bytes are not the proven ones.
    """
    with service_errors():
        client = connect()
        experiment_id = experiment_id_of(client)
        mlflow.set_experiment(experiment_id=experiment_id)  # Model.log takes no experiment of its own
        tags = {**attempt.tags(), "mlflow.note.content": attempt.description()}
        if attempt.parent_run_id:
            tags["mlflow.parentRunId"] = attempt.parent_run_id
        run = client.create_run(experiment_id, start_time=attempt.started_ms, run_name=attempt.title, tags=tags)
        run_id = run.info.run_id
        try:
            release = _log(client, run_id, attempt, witness)
        except BaseException:
            client.set_terminated(run_id, "FAILED")
            raise
        client.set_terminated(run_id, "FAILED" if attempt.error else "FINISHED")
    if release.version_url:
        create_link_artifact(
            link=release.version_url, key="mlflow-version", description=f"{attempt.title} {release.version}"
        )
    return release


def _log(client: mlflow.MlflowClient, run_id: str, attempt: Attempt, witness: "Witness | None") -> Release:
    _log_files(run_id, attempt)
    run_url = run_url_of(run_id, client.get_run(run_id).info.experiment_id)
    release = Release(run_id=run_id, run_url=run_url, changed=attempt.changed)
    params = [Param(key, value[:6000]) for key, value in attempt.params().items()]
    if attempt.graph is None or attempt.evidence is None:
        client.log_batch(run_id, metrics=_metrics(attempt, None), params=params)
        return release
    if attempt.file is not None:  # somebody else's: it is proven where it lies
        client.log_batch(run_id, metrics=_metrics(attempt, None), params=params)
        return release
    client.log_batch(run_id, params=params)
    flavor = ProvenFile(attempt.graph, signature_of(attempt.graph))
    info = Model.log(None, flavor, name=attempt.title, run_id=run_id, tags=attempt.tags())
    model_id = str(info.model_id)
    client.log_batch(run_id, metrics=_metrics(attempt, model_id))
    release = release.model_copy(update={"model_id": model_id, "model_uri": f"models:/{model_id}"})
    _prove_download(attempt.graph, release, witness)
    if attempt.evidence.verdict != "pass":
        return release
    return _register(client, attempt, release)


def _log_files(run_id: str, attempt: Attempt) -> None:
    with tempfile.TemporaryDirectory(prefix="assay-") as name:
        folder = Path(name)
        (folder / RECORD_FILE).write_text(attempt.to_json())
        if attempt.graph and attempt.evidence and attempt.weights and attempt.report:
            page = html_report(
                attempt.spec, attempt.graph, attempt.evidence, weights=attempt.weights, report=attempt.report,
                provenance=attempt.provenance, changed=attempt.changed, seconds=attempt.seconds, file=attempt.file,
            )  # fmt: skip
            (folder / REPORT_FILE).write_text(page, encoding="utf-8")
        if attempt.defect is not None:
            from tasks.core.localisation import reproduction  # it imports torch, as validation has by now

            file = Path(attempt.file).name if attempt.file else GRAPH_FILE
            reproduction.write_reproduction(attempt.defect, folder / reproduction.FOLDER, file=file)
        mlflow.log_artifacts(str(folder), run_id=run_id)


def _metrics(attempt: Attempt, model_id: str | None) -> list[Metric]:
    import time

    now = int(time.time() * 1000)
    return [Metric(key, value, now, 0, model_id=model_id) for key, value in attempt.metrics().items()]


def _prove_download(graph: Graph, release: Release, witness: "Witness | None") -> None:
    """Hold what MLflow gives back against what was proven: equal bytes, and one probe.

    Raises:
        ExportError: they differ.
    """
    stored = download_graph(release)
    found = file_sha256(stored)
    if found != graph.sha256:
        raise ExportError(
            f"The file downloaded again from MLflow has SHA-256 {found[:12]}, not {graph.sha256[:12]}; "
            f"the artifact store changed it, so nothing was registered."
        )
    if graph.sidecar and file_sha256(stored.with_name(graph.sidecar.name)) != graph.sidecar_sha256:
        raise ExportError(
            f"The sidecar {graph.sidecar.name} downloaded again from MLflow has other bytes than the proven."
        )
    if witness is not None and (wrong := witness.disagreement(stored)):
        raise ExportError(
            f"The file downloaded again from MLflow gives another answer ({wrong}); nothing was registered."
        )


def _register(client: mlflow.MlflowClient, attempt: Attempt, release: Release) -> Release:
    """Make a version of what passed, unless this very content is one already; move the alias to it."""
    assert attempt.graph is not None
    assert attempt.evidence is not None
    assert attempt.weights is not None
    name = attempt.title
    with contextlib.suppress(MlflowException):  # it exists
        client.create_registered_model(name)
    same = f"name='{name}' and tags.`assay.onnx_sha256`='{attempt.graph.sha256}'"
    known = [v for v in client.search_model_versions(same) if v.status == "READY"]
    if known:
        version = known[0]
    else:
        version = client.create_model_version(
            name,
            source=f"models:/{release.model_id}",
            run_id=release.run_id,
            model_id=release.model_id,
            tags=attempt.tags(),
            description=attempt.description(),
        )
    client.set_registered_model_alias(name, ALIAS, version.version)
    return release.model_copy(
        update={
            "version": str(version.version),
            "model_uri": f"models:/{name}/{version.version}",
            "version_url": version_url_of(name, str(version.version)),
            "alias": ALIAS,
        }
    )
