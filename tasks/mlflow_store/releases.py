"""What MLflow holds of past exports: the newest proven version of a registered model, and its file."""

import json
import logging
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from tasks.core.errors import ServiceError
from tasks.core.paths import MLFLOW_DATABASE
from tasks.core.provenance.attempts import PastExport
from tasks.core.records.steps import Release
from tasks.mlflow_store.store import CHAMPION, PROVEN, connect, is_own_store, run_url_of, service_errors, version_of

log = logging.getLogger("assay")

RECORD_FILE = "export.json"
GRAPH_FILE = "model.onnx"


def find_proven(name: str) -> PastExport | None:
    """The newest proven version of a registered model with its records; None where there is none."""
    if is_own_store() and not MLFLOW_DATABASE.exists():
        return None
    with service_errors():
        client = connect()
        version = version_at(client, name, PROVEN) or version_at(client, name, CHAMPION)  # which older stores have only
        if version is None:
            return None
        release = release_of(client, version)
        try:
            found = read_export(release)
            stored = stored_file(release)
            if stored is not None and not stored.is_file():
                raise FileNotFoundError(stored)
            return found
        except (MlflowException, OSError, ValueError, KeyError) as error:
            log.warning("%s %s can't be read back (%s), so it is exported again", name, version.version, error)
            return None


def release_of(client: mlflow.MlflowClient, version: ModelVersion) -> Release:
    """What MLflow holds of the export that made a version.

    Args:
        client: of the store.
        version: as it is registered.
    """
    return Release(
        run_id=str(version.run_id),
        run_url=run_url_of(client.get_run(str(version.run_id))),
        model_id=version.model_id or str(version.source).rpartition("/")[2],
        alias=CHAMPION if CHAMPION in version.aliases else PROVEN,
        **version_of(version),
    )


def read_export(release: Release) -> PastExport:
    """A registered export with the records that its run holds.

    Raises:
        MlflowException: the run has none.
        OSError: they can't be fetched.
        ValueError: they are none, or another version's of Assay.
        KeyError: one of them is missing.
    """
    path = mlflow.artifacts.download_artifacts(run_id=release.run_id, artifact_path=RECORD_FILE)
    records = json.loads(Path(path).read_text())
    return PastExport(release=release, **{name: records[name] for name in ("manifest", "graph", "evidence", "weights")})


def version_at(client: mlflow.MlflowClient, name: str, alias: str) -> ModelVersion | None:
    """The version of a registered model that an alias points to.

    Args:
        client: of the store.
        name: of the model, which need not exist.
        alias: of the version, which need not exist.
    """
    try:
        return client.get_model_version_by_alias(name, alias)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def download_graph(release: Release) -> Path:
    """The ONNX file of a release as a local path (of a local store, the stored file itself)."""
    with service_errors():
        connect()
        try:
            path = Path(mlflow.artifacts.download_artifacts(f"models:/{release.model_id}")) / GRAPH_FILE
            if not path.is_file():
                raise FileNotFoundError(path)
            return path
        except OSError as error:
            raise ServiceError(f"The artifact store has lost {release.model_uri} ({error}).") from error


def stored_file(release: Release) -> Path | None:
    """Where the ONNX file of a release lies, if the artifact store is a folder of this machine."""
    location = urlsplit(str(connect().get_logged_model(str(release.model_id)).artifact_location))
    return Path(url2pathname(location.path)) / GRAPH_FILE if location.scheme in ("", "file") else None
