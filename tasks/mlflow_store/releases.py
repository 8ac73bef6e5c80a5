"""What MLflow holds of past exports: a version, the records of its run, and its file."""

import json
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import mlflow
from mlflow.entities import LoggedModel
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from tasks.core.errors import ServiceError
from tasks.core.provenance.attempts import PastExport
from tasks.core.records.steps import Release
from tasks.core.runtime.work_folders import work_folder
from tasks.mlflow_store.store import CHAMPION, PROVEN, connect, run_url_of, service_errors, version_of

RECORD_FILE = "export.json"
GRAPH_FILE = "model.onnx"


def release_of(client: mlflow.MlflowClient, version: ModelVersion) -> Release:
    """What MLflow holds of the export that made a version.

    Args:
        client: of the store.
        version: as it is registered.
    """
    return Release(
        run_id=str(version.run_id),
        run_url=run_url_of(client.get_run(str(version.run_id))),
        model_id=model_id_of(version),
        alias=CHAMPION if CHAMPION in version.aliases else PROVEN,
        **version_of(version),
    )


def model_id_of(version: ModelVersion) -> str:
    """The logged model that a version was made of."""
    return str(version.model_id or str(version.source).rpartition("/")[2])


def read_export(release: Release) -> PastExport:
    """A registered export with the records that its run holds.

    Raises:
        MlflowException: the run has none.
        OSError: they can't be fetched.
        ValueError: they are none, or another version's of Assay.
        KeyError: one of them is missing.
    """
    with work_folder() as folder:
        path = mlflow.artifacts.download_artifacts(
            run_id=release.run_id, artifact_path=RECORD_FILE, dst_path=str(folder)
        )
        records = json.loads(Path(path).read_text())
    known = {name: records[name] for name in ("manifest", "graph", "evidence", "weights")}
    return PastExport(release=release, latency=records.get("latency"), **known)


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


def download_graph(release: Release, folder: Path) -> Path:
    """The ONNX file of a release as a local path.

    Args:
        release: with a logged model.
        folder: where it is put if the artifact store is none of this machine's folders; else it is the stored file.
    """
    with service_errors():
        try:
            path = stored_file(release) or download_model(str(release.model_id), folder) / GRAPH_FILE
            if not path.is_file():
                raise FileNotFoundError(path)
            return path
        except OSError as error:
            raise ServiceError(f"The artifact store has lost {release.model_uri} ({error}).") from error


def download_model(model_id: str, folder: Path) -> Path:
    """Fetch the files of a logged model into a folder; gives the one in which they lie.

    Args:
        model_id: of the logged model.
        folder: that exists.
    """
    return Path(mlflow.artifacts.download_artifacts(f"models:/{model_id}", dst_path=str(folder)))


def stored_file(release: Release) -> Path | None:
    """Where the ONNX file of a release lies, if the artifact store is a folder of this machine."""
    folder = folder_of(connect().get_logged_model(str(release.model_id)))
    return folder / GRAPH_FILE if folder else None


def folder_of(model: LoggedModel) -> Path | None:
    """Where the files of a logged model lie, if the artifact store is a folder of this machine."""
    location = urlsplit(str(model.artifact_location))
    return Path(url2pathname(location.path)) if location.scheme in ("", "file") else None
