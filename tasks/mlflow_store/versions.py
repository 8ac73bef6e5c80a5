"""A registered version by its name, as a user writes it; who misspells it is told which there are."""

import difflib
from pathlib import Path

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from requests.exceptions import RequestException

from tasks.core.errors import ServiceError, SpecError, one_line, some
from tasks.core.hashes import file_sha256
from tasks.core.provenance.attempts import PastExport
from tasks.core.spec.version_name import VersionName
from tasks.mlflow_store.releases import download_graph, read_export, release_of
from tasks.mlflow_store.store import connect, service_errors


def find_version(wanted: VersionName) -> PastExport:
    """A registered version with its records.

    Raises:
        SpecError: there is no such model or version, or Assay did not make it.
        ServiceError: MLflow can't be reached, or there is no store yet.
    """
    with service_errors():
        client = connect(make=False)
        version = _version(client, wanted)
        try:
            return read_export(release_of(client, version))
        except RequestException:
            raise
        except (MlflowException, OSError, ValueError, KeyError) as error:
            raise SpecError(
                f"{wanted.name}/{version.version} has no records of an export that can be read ({one_line(error)}); "
                f"name a version that Assay made."
            ) from error


def download_version(version: PastExport, folder: Path) -> Path:
    """The ONNX file of a version as a local path; a ServiceError if the store has lost it, or holds another one.

    Args:
        version: as it was proven.
        folder: where it is put if the artifact store is none of this machine's folders.
    """
    path = download_graph(version.release, folder)
    found = file_sha256(path)
    if found != version.graph.sha256:
        raise ServiceError(
            f"The artifact store changed {version.release.model_uri}: its file has SHA-256 {found[:12]}, and "
            f"{version.graph.sha256[:12]} was proven; export it again with --force."
        )
    return path


def _version(client: mlflow.MlflowClient, wanted: VersionName) -> ModelVersion:
    try:
        model = client.get_registered_model(wanted.name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise _unknown_model(client, wanted.name) from None
    number = str(model.aliases.get(wanted.alias)) if wanted.alias else wanted.version
    versions = {str(version.version): version for version in client.search_model_versions(f"name='{wanted.name}'")}
    if number not in versions:
        asked = f"alias {wanted.alias}" if wanted.alias else f"version {wanted.version}"
        newest_first = some(sorted(versions, key=int, reverse=True))
        aliases = "".join(f", {wanted.name}@{alias}" for alias in sorted(model.aliases))
        raise SpecError(f"{wanted.name} has no {asked}; there are {newest_first or 'none'}{aliases}.")
    return versions[number]


def _unknown_model(client: mlflow.MlflowClient, name: str) -> SpecError:
    names = sorted(model.name for model in client.search_registered_models(max_results=1000))
    close = difflib.get_close_matches(name, names, n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else f"there are {some(names) or 'none yet: export one'}."
    return SpecError(f"MLflow has no registered model {name!r}; {hint}")
