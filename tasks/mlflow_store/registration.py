"""From a proven file to a version that people load: logged, proven once more as downloaded, registered."""

import contextlib
import json
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS
from requests.exceptions import RequestException

from tasks.core.errors import AssayError, ExportError, one_line
from tasks.core.hashes import file_sha256
from tasks.core.provenance.attempts import Attempt, PastExport
from tasks.core.provenance.drift import measure_drift
from tasks.core.records.comparison import Drift
from tasks.core.records.steps import Graph, Release
from tasks.core.reports.card import version_card
from tasks.core.runtime.work_folders import work_folder
from tasks.mlflow_store import entries
from tasks.mlflow_store.models import describe_model, log_trend
from tasks.mlflow_store.proven_file import ProvenFile
from tasks.mlflow_store.releases import download_graph, model_id_of, read_export, release_of, version_at
from tasks.mlflow_store.runs import OpenRun
from tasks.mlflow_store.shared_entries import write_shared
from tasks.mlflow_store.signing import lacks_signature
from tasks.mlflow_store.stale import fail_models
from tasks.mlflow_store.store import CHAMPION, PROVEN, patient, version_of
from tasks.mlflow_store.stored_files import damage_of, note_check, note_damage

log = logging.getLogger("assay")

_PAUSES_SECONDS = (1.0, 3.0)
"""Before the second and the third try to upload."""
_SOON_SECONDS = 3.0
"""A server that needs longer to fail hangs."""
_MAX_DRIFT_BYTES = 1 << 29
"""Of the file before, which has to be fetched and opened."""

if TYPE_CHECKING:
    from tasks.core.proof.validation import Witness


def log_model(run: OpenRun, graph: Graph) -> Release:
    """Log the very bytes of a file as a model of the run; no verdict is claimed yet.

    Args:
        run: of the attempt.
        graph: the file.
    """
    model_id = _uploaded(run, graph)
    run.log_metrics(model_id=model_id)
    return run.release.model_copy(update={"model_id": model_id, "model_uri": f"models:/{model_id}"})


def _uploaded(run: OpenRun, graph: Graph) -> str:
    """Log the model, again after a pause where a server failed at once; its id."""
    tags, params = entries.tags(run.attempt), entries.params(run.attempt)
    pauses = iter(_PAUSES_SECONDS)
    while True:
        started = time.monotonic()
        try:
            with patient(graph.size_bytes):
                info = Model.log(
                    None, ProvenFile(graph), name=run.attempt.title, run_id=run.release.run_id, tags=tags,
                    params=params,
                )  # fmt: skip
            return str(info.model_id)
        except (MlflowException, RequestException) as error:
            pause = next(pauses, None) if mlflow.get_tracking_uri().startswith("http") else None
            if pause is None or time.monotonic() - started > _SOON_SECONDS:
                raise
            log.warning("MLflow did not take the file (%s); it is tried again", one_line(error)[:100])
            time.sleep(pause)
            with contextlib.suppress(MlflowException, RequestException):
                fail_models(run.client, run.client.get_run(run.release.run_id))


def check_download(graph: Graph, release: Release, witness: "Witness | None") -> None:
    """Hold what MLflow gives back against what was proven: equal bytes, and the answer to one probe.

    Args:
        graph: the file that was proven.
        release: with the logged model.
        witness: a probe and the proven file's answer; None: nothing was answered.

    Raises:
        ExportError: they differ.
    """
    with work_folder() as folder:
        _check_stored(download_graph(release, folder), graph, witness)


def _check_stored(stored: Path, graph: Graph, witness: "Witness | None") -> None:
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


def register(run: OpenRun, release: Release, graph: Graph) -> Release:
    """Make a version of what passed, unless this very content is one already, undamaged; move the aliases to it.

    Random weights are never the champion; and it stays where its inputs or outputs are other ones, unless the attempt
    accepts that.

    Args:
        run: of the attempt.
        release: with the logged model, as downloaded proven.
        graph: the file.
    """
    name, client, attempt = run.attempt.title, run.client, run.attempt
    with contextlib.suppress(MlflowException):  # it exists
        client.create_registered_model(name)
    champion = version_at(client, name, CHAMPION)
    stays = _why_it_stays(champion, attempt) if champion else ""
    note_check(client, str(release.model_id))
    version = _sound_version(client, name, graph)
    if version is None:
        version = client.create_model_version(
            name, source=f"models:/{release.model_id}", run_id=release.run_id, model_id=release.model_id,
            tags=entries.version_tags(attempt),
        )  # fmt: skip
        run.release = release.model_copy(update=version_of(version))
        drift = _drift(attempt, run.release, graph)
        card = version_card(attempt, graph, run.context("Version"), stays=stays, drift=drift)
        client.update_model_version(name, version.version, description=card)
        log_trend(run, version)
    run.release = release = release.model_copy(update={**version_of(version), "contract": stays})
    # MLflow's server does this; a local store does not, and the page of the logged model would say "Not registered"
    registered = json.dumps([{"name": name, "version": str(version.version)}])
    client.set_logged_model_tags(str(release.model_id), {MLFLOW_MODEL_VERSIONS: registered})
    aliases = (PROVEN,) if stays or _is_random(attempt) else (PROVEN, CHAMPION)
    served = version if CHAMPION in aliases else champion
    describe_model(run, name, str(served.version) if served else None)
    for alias in aliases:
        write_shared(client.set_registered_model_alias, name, alias, str(version.version))
    return release.model_copy(update={"alias": aliases[-1]})


def _drift(attempt: Attempt, release: Release, graph: Graph) -> Drift | None:
    """How far outputs are from those of the version before; None: there is none, or its file is large."""
    before, manifest, evidence = attempt.before, attempt.manifest, attempt.evidence
    if before is None or manifest is None or evidence is None or before.graph.size_bytes > _MAX_DRIFT_BYTES:
        return None
    now = PastExport(manifest=manifest, graph=graph, evidence=evidence, release=release)
    try:
        with work_folder() as folder:
            return measure_drift(before, now, (download_graph(before.release, folder), graph.path))
    except AssayError as error:  # the store has lost the version before
        return Drift(reason=one_line(error))


def _sound_version(client: mlflow.MlflowClient, name: str, graph: Graph) -> ModelVersion | None:
    """A version of this very content whose stored file and records are whole; the damaged ones are marked as such."""
    same = f"name='{name}' and tags.`assay.onnx_sha256`='{graph.sha256}'"
    for version in client.search_model_versions(same):
        damage = damage_of(client, model_id_of(version), graph, thoroughly=True)
        note_damage(client, version, damage)
        if damage or lacks_signature(client, model_id_of(version)):
            continue
        if version.status == "READY" and _has_records(client, version):
            return version
    return None


def _has_records(client: mlflow.MlflowClient, version: ModelVersion) -> bool:
    try:
        read_export(release_of(client, version))
    except (MlflowException, OSError, ValueError, KeyError):
        return False
    return True


def _is_random(attempt: Attempt) -> bool:
    return attempt.weights is not None and attempt.weights.kind == "random"


def _why_it_stays(champion: ModelVersion, attempt: Attempt) -> str:
    """Random weights, or how inputs and outputs differ in names, dtypes or dims; empty where the champion may move."""
    stays = f"champion stays at version {champion.version}"
    if _is_random(attempt):
        return f"{stays}, for these weights are random"
    tags = entries.tags(attempt)
    differing = [key for key in ("assay.inputs", "assay.outputs") if champion.tags.get(key, tags[key]) != tags[key]]
    if attempt.accepts_contract or not differing:
        return ""
    said = (f"{key.removeprefix('assay.')} are {champion.tags[key]}, not {tags[key]}" for key in differing)
    return f"{stays}, whose {' and whose '.join(said)}; --accept-contract moves it"
