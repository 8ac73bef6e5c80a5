"""What a registered model's page shows beside its versions: a description, and a trend over all of them."""

import time

import mlflow
from mlflow.entities import Metric
from mlflow.entities.model_registry import ModelVersion

from tasks.core.reports.card import OWN_HEADING, model_page
from tasks.core.runtime.owners import owner
from tasks.mlflow_store import entries
from tasks.mlflow_store.pages import run_page, runs_page, version_page
from tasks.mlflow_store.runs import OpenRun
from tasks.mlflow_store.shared_entries import write_shared
from tasks.mlflow_store.stale import OWNER
from tasks.mlflow_store.store import TRENDS, experiment_id_of
from tasks.mlflow_store.trade_offs import show_trade_offs

TREND_RUN = "assay.trend_run"
"""Tag of the registered model."""


def log_trend(run: OpenRun, version: ModelVersion) -> None:
    """Add a new version's figures to the trend of its model, which MLflow plots over the versions.

    Args:
        run: of the export.
        version: that it registered.
    """
    now, step = int(time.time() * 1000), int(version.version)
    figures = {key: value for key, value in entries.metrics(run.attempt).items() if "/" not in key}
    figures["export_seconds"] = sum(run.attempt.seconds.values())
    metrics = [Metric(key, value, now, step) for key, value in figures.items()]
    run.client.log_batch(_trend_of(run.client, version.name)[1], metrics=metrics)


def describe_model(run: OpenRun, name: str, champion: str | None) -> None:
    """Describe a registered model, unless a person did.

    Args:
        run: of the newest export, with the version in its release.
        name: of the model.
        champion: number of the version that is served.
    """
    model = run.client.get_registered_model(name)
    if model.description and OWN_HEADING not in model.description:
        return
    newest = str(run.release.version)
    served = [(f"Champion: version {champion}", version_page(name, champion))] if champion else []
    links = (
        (f"Newest: version {newest}", version_page(name, newest)),
        *served,
        ("Trend over the versions", run_page(*_trend_of(run.client, name), "model-metrics")),
        ("All runs", runs_page(run.experiment_id)),
    )
    is_random = bool(run.attempt.evidence and run.attempt.evidence.random_weights)
    run.client.update_registered_model(name, description=model_page(name, links=links, is_random=is_random))
    show_trade_offs(run.client, name)


def _trend_of(client: mlflow.MlflowClient, name: str) -> tuple[str, str]:
    """Experiment and run of a model's trend; they are made where they do not exist."""
    experiment_id = experiment_id_of(client, suffix=TRENDS)
    known = client.get_registered_model(name).tags.get(TREND_RUN)
    if known is None:
        tags = {entries.KIND: "trend", entries.NAME: name, OWNER: owner()}
        note = "One run a registered model; its metrics are plotted over the versions."
        write_shared(client.set_experiment_tag, experiment_id, entries.NOTE, note)
        known = client.create_run(experiment_id, run_name=f"{name}: all versions", tags=tags).info.run_id
        client.set_terminated(known, "FINISHED")
        write_shared(client.set_registered_model_tag, name, TREND_RUN, known)
    return experiment_id, known
