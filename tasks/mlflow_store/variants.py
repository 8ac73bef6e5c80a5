"""Variants of proven files in MLflow: a run an attempt, a registered model a kind, tagged with what it was made of."""

import contextlib
import json
import time
from pathlib import Path

import mlflow
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

from tasks.core.records.steps import ExportResult, Graph, Release
from tasks.core.records.variants import VariantEvidence
from tasks.core.reports.variant_card import variant_card
from tasks.core.reports.variant_page import variant_page
from tasks.core.reports.wording import VERDICT_MARKS
from tasks.core.runtime.work_folders import work_folder
from tasks.mlflow_store import entries
from tasks.mlflow_store.pages import run_page, runs_page
from tasks.mlflow_store.proven_file import ProvenFile
from tasks.mlflow_store.registration import check_download
from tasks.mlflow_store.releases import stored_file, version_at
from tasks.mlflow_store.runs import REPORT_FILE, made_by
from tasks.mlflow_store.shared_entries import write_shared
from tasks.mlflow_store.signing import lacks_signature, sign_model
from tasks.mlflow_store.store import (
    CHAMPION,
    PROVEN,
    connect,
    experiment_id_of,
    run_url_of,
    service_errors,
    version_of,
)
from tasks.mlflow_store.trade_offs import SOURCE, beside, show_trade_offs

RECORD_FILE = "variant.json"
FINGERPRINT = "assay.variant_fingerprint"


def find_variant(name: str, fingerprint: str) -> ExportResult | None:
    """The newest version of a variant, if all that decides it is as it was and its file is there; else None.

    Args:
        name: of its registered model.
        fingerprint: of all that decides it.
    """
    with service_errors():
        client = connect()
        version = version_at(client, name, PROVEN)
        if version is None or version.tags.get(FINGERPRINT) != fingerprint:
            return None
        run = client.get_run(str(version.run_id))
        release = Release(
            run_id=str(version.run_id), run_url=run_url_of(run), alias=CHAMPION,
            model_id=version.model_id or str(version.source).rpartition("/")[2], **version_of(version),
        )  # fmt: skip
        stored = stored_file(release)
        if (stored is not None and not stored.is_file()) or lacks_signature(client, str(release.model_id)):
            return None
        try:
            with work_folder() as folder:
                path = mlflow.artifacts.download_artifacts(
                    run_id=release.run_id, artifact_path=RECORD_FILE, dst_path=str(folder)
                )
                records = json.loads(Path(path).read_text(encoding="utf-8"))
            graph, evidence = Graph(**records["graph"]), VariantEvidence(**records["evidence"])
        except (MlflowException, OSError, ValueError, KeyError):
            return None
    reason = f"nothing changed since version {release.version}, judged in run {release.run_id}"
    return ExportResult(
        name=name, verdict=evidence.verdict, unchanged=True, reason=reason, graph=graph, variant=evidence,
        release=release, onnx_path=stored,
    )  # fmt: skip


def log_and_register(name: str, graph: Graph, evidence: VariantEvidence, *, fingerprint: str) -> Release:
    """Log a variant, check what can be downloaded again, register what passed.

    Args:
        name: of its registered model.
        graph: of its file.
        evidence: what was measured.
        fingerprint: of all that decides it; empty: somebody else made it, and nothing is registered.
    """
    with service_errors():
        client = connect()
        experiment_id = experiment_id_of(client)
        mlflow.set_experiment(experiment_id=experiment_id)  # Model.log takes no experiment of its own
        tags = {
            entries.KIND: "variant", "assay.name": name, SOURCE: evidence.source, FINGERPRINT: fingerprint,
            "assay.onnx_sha256": graph.sha256, "assay.inputs": ", ".join(map(str, graph.inputs)),
            "assay.outputs": ", ".join(map(str, graph.outputs)),
        }  # fmt: skip
        run = client.create_run(experiment_id, run_name=name, tags=tags | made_by())
        release = Release(run_id=str(run.info.run_id), run_url=run_url_of(run))
        verdict = "error"
        try:
            _describe(client, release, evidence, experiment_id=experiment_id)
            if fingerprint:
                release = _log_model(release, name, graph, evidence=evidence, tags=tags)
            record = _log_record(release, graph, evidence)
            verdict = evidence.verdict
            if verdict == "pass" and fingerprint:
                sign_model(client, str(release.model_id), graph, record=(RECORD_FILE, record))
                release = _register(client, release, name, evidence=evidence, tags=tags, experiment_id=experiment_id)
            page = variant_page(name, evidence, beside(client, name, evidence, version=release.version))
            client.log_text(release.run_id, page, REPORT_FILE)
        finally:
            mark = VERDICT_MARKS[verdict][0]
            number = f" v{release.version}" if release.version else ""
            client.log_batch(release.run_id, tags=[RunTag(entries.VERDICT, verdict)])
            client.update_run(release.run_id, name=f"{mark} {name}{number}")
            client.set_terminated(release.run_id, "FINISHED" if verdict == "pass" else "FAILED")
    return release


def _log_model(
    release: Release, name: str, graph: Graph, *, evidence: VariantEvidence, tags: dict[str, str]
) -> Release:
    params = {key: str(value) for key, value in evidence.terms.model_dump().items()}
    info = Model.log(None, ProvenFile(graph), name=name, run_id=release.run_id, tags=tags, params=params)
    model_id = str(info.model_id)
    release = release.model_copy(update={"model_id": model_id, "model_uri": f"models:/{model_id}"})
    check_download(graph, release, None)
    return release


def _describe(client: mlflow.MlflowClient, release: Release, evidence: VariantEvidence, *, experiment_id: str) -> None:
    now = int(time.time() * 1000)
    metrics = [Metric(key, value, now, 0) for key, value in _metrics(evidence).items()]
    terms = evidence.terms.model_dump() | {"source": evidence.source, "kept_in_float32": ", ".join(evidence.kept)}
    params = [Param(key, str(value)[: entries.MAX_PARAM]) for key, value in terms.items()]
    report = run_page(experiment_id, release.run_id, f"artifacts/{REPORT_FILE}")
    note = RunTag(
        entries.NOTE, variant_card(evidence, links=(("Report", report), ("All runs", runs_page(experiment_id))))
    )
    client.log_batch(release.run_id, metrics=metrics, params=params, tags=[note])


def _metrics(evidence: VariantEvidence) -> dict[str, float]:
    found = {"size_bytes": float(evidence.size_bytes), "size_ratio": evidence.size_bytes / (evidence.source_bytes or 1)}
    if loss := evidence.loss:
        found |= {"loss": loss.loss, "loss_low": loss.low, "loss_high": loss.high, "budget": loss.budget}
    if evidence.latency and evidence.source_latency:
        found |= {"latency_ms": evidence.latency.median_ms, "latency_source_ms": evidence.source_latency.median_ms}
    if precision := evidence.precision:
        found |= {"relative_error": precision.error, "precision_ratio": precision.ratio}
    if declared := evidence.declared:
        found |= {"levels_ratio": declared.levels, "company_ratio": declared.company}
    return {key: min(max(value, -1e308), 1e308) for key, value in found.items()}


def _log_record(release: Release, graph: Graph, evidence: VariantEvidence) -> str:
    record = {"graph": graph.model_dump(mode="json"), "evidence": evidence.model_dump(mode="json")}
    with work_folder() as folder:
        (folder / RECORD_FILE).write_text(text := json.dumps(record, indent=1), encoding="utf-8")
        mlflow.log_artifacts(str(folder), run_id=release.run_id)
    return text


def _register(
    client: mlflow.MlflowClient,
    release: Release,
    name: str,
    *,
    evidence: VariantEvidence,
    tags: dict[str, str],
    experiment_id: str,
) -> Release:
    with contextlib.suppress(MlflowException):  # it exists
        client.create_registered_model(name)
    own = {key: tags[key] for key in (SOURCE, FINGERPRINT, "assay.onnx_sha256")} | {entries.VERDICT: evidence.verdict}
    version = client.create_model_version(
        name, source=f"models:/{release.model_id}", run_id=release.run_id, model_id=release.model_id, tags=own
    )
    pages = {"Run": "", "Report": f"artifacts/{REPORT_FILE}"}
    links = tuple((label, run_page(experiment_id, release.run_id, tab)) for label, tab in pages.items())
    client.update_model_version(name, version.version, description=variant_card(evidence, links=links))
    registered = json.dumps([{"name": name, "version": str(version.version)}])
    client.set_logged_model_tags(str(release.model_id), {MLFLOW_MODEL_VERSIONS: registered})
    for alias in (PROVEN, CHAMPION):
        write_shared(client.set_registered_model_alias, name, alias, str(version.version))
    if evidence.source_name is not None:
        show_trade_offs(client, evidence.source_name)
    return release.model_copy(update={**version_of(version), "alias": CHAMPION})
