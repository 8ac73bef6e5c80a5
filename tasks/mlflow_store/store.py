"""The tracking store: where it is, how it is made, what its failures are called."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import filelock
import mlflow
from alembic.util import CommandError
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.db.db_types import DATABASE_ENGINES
from requests.exceptions import RequestException
from sqlalchemy.exc import SQLAlchemyError

from tasks.core.errors import AssayError, ServiceError, one_line
from tasks.core.paths import MLFLOW_DATABASE, MLRUNS_FOLDER
from tasks.mlflow_store.database import check_database, check_server
from tasks.mlflow_store.experiment import describe_experiment
from tasks.mlflow_store.pages import address_of, run_page, version_page

EXPERIMENT = "onnx-exports"
TRENDS = "-trends"
"""End of the name of the experiment that has one run a registered model: its versions are the steps."""
PROVEN = "proven"
"""Alias of the newest proven version."""
CHAMPION = "champion"
"""Alias of the version that is served: the newest proven one of the same inputs and outputs."""
_PATIENCE = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "6",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
    "PGCONNECT_TIMEOUT": "10",
}
"""A server that hangs is told after two tries of so many seconds; MLflow itself waits for minutes."""
_STORED_BYTES = 10_000_000
"""That a slow server stores in a second."""
_OWN_STORE = f"sqlite:///{MLFLOW_DATABASE}"
_REACH = "check MLFLOW_TRACKING_URI, or unset it to use mlflow.db beside the project"


def connect(*, make: bool = True) -> mlflow.MlflowClient:
    """Connect to the tracking store; one in SQLite is made safely when several processes start at once.

    Unless it is to `make` one: then a ServiceError says that there is none.
    """
    for name, value in _PATIENCE.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # where tqdm is installed
    if is_own_store():
        mlflow.set_tracking_uri(_OWN_STORE)
    database = _database()
    if database is not None and not database.exists():
        if not make:
            raise ServiceError(f"There is no store {database} yet; export a model first, or {_REACH}.")
        _create(database)
    elif database is not None:
        check_database(database)
    elif urlsplit(uri := mlflow.get_tracking_uri()).scheme.partition("+")[0] in DATABASE_ENGINES:
        check_server(uri)
    return mlflow.MlflowClient()


def experiment_id_of(client: mlflow.MlflowClient, *, suffix: str = "") -> str:
    """The experiment's id; it is made where it does not exist.

    Args:
        client: of the store.
        suffix: of its name; empty: the one of exports.
    """
    name = experiment_name() + suffix
    database = _database()
    # MLflow would take mlruns in the working directory, which under a worker is a temporary one
    location = (database.parent / MLRUNS_FOLDER.name / name).as_uri() if database else None
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            found = client.get_experiment(client.create_experiment(name, artifact_location=location))
        except MlflowException:
            found = client.get_experiment_by_name(name)  # another process was faster
            if found is None:
                raise
    if not suffix:
        describe_experiment(client, found)
    return str(found.experiment_id)


def experiment_name() -> str:
    """Name of the experiment of exports."""
    return os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT


def check_artifact_store() -> None:
    """Look at the place for artifacts before work is done for it; a ServiceError if it can't be used."""
    with service_errors():
        client = connect()
        location = client.get_experiment(experiment_id_of(client)).artifact_location
        try:
            place: Any = get_artifact_repository(location)
            if urlsplit(location).scheme not in ("", "file"):
                place.list_artifacts()
                return
            folder = Path(place.artifact_dir)
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except Exception as error:  # each kind of store has a library, and exceptions, of its own
            raise ServiceError(
                f"The artifact store {location} can't be used ({one_line(error)}); check its address and "
                f"credentials, and the library that MLflow needs for it; or set MLFLOW_EXPERIMENT_NAME to a new name."
            ) from error


@contextlib.contextmanager
def service_errors() -> Iterator[None]:
    """Within this context what MLflow raises, and the disk under it, becomes a ServiceError."""
    try:
        yield
    except AssayError:
        raise
    except (SQLAlchemyError, CommandError) as error:
        said = one_line(str(error).partition("\n[SQL")[0])
        raise ServiceError(
            f"MLflow's database {mlflow.get_tracking_uri()} can't be used ({said}); {_REACH}."
        ) from error
    except (RequestException, MlflowException) as error:
        is_gone = is_unreachable(error)
        what = "could not be reached" if is_gone else f"failed: {one_line(str(error).partition('[SQL')[0])[:300]}"
        told = ServiceError(f"MLflow at {mlflow.get_tracking_uri()} {what}; {_REACH}.")
        told.run_id = "" if is_gone else None  # nobody need try to record that there
        raise told from error
    except OSError as error:
        raise ServiceError(
            f"MLflow at {mlflow.get_tracking_uri()} could not be written to ({error}); make room, or check its folder."
        ) from error


def is_unreachable(error: BaseException) -> bool:
    """Does an error of MLflow's client say that nobody answers, rather than what the answer is?"""
    return isinstance(error, RequestException) or "failed with exception" in str(error)[:1000]


@contextlib.contextmanager
def patient(size_bytes: int) -> Iterator[None]:
    """Within this context a server may take the time that storing a file needs.

    Args:
        size_bytes: of the file.
    """
    name = "MLFLOW_HTTP_REQUEST_TIMEOUT"
    before = os.environ.get(name, _PATIENCE[name])
    os.environ[name] = str(int(before) + size_bytes // _STORED_BYTES)
    try:
        yield
    finally:
        os.environ[name] = before


def _create(database: Path) -> None:
    # made aside and then named: a store that others open half made, or whose maker is killed, stays broken for good
    part = database.with_name(f"{database.name}.part")
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(f"{database}.lock"):
            if not database.exists():
                part.unlink(missing_ok=True)
                mlflow.MlflowClient(f"sqlite:///{part}").search_experiments(max_results=1)
                part.replace(database)
    except OSError as error:
        raise ServiceError(f"The store {database} can't be made ({error}); {_REACH}.") from error


def _database() -> Path | None:
    """The file of a tracking store in SQLite."""
    uri = mlflow.get_tracking_uri()
    if not uri.startswith("sqlite:///") or ":memory:" in uri:
        return None
    return Path(uri.removeprefix("sqlite:///").partition("?")[0]).absolute()


def is_there() -> bool:
    """Is there a store yet? One behind an address is asked when it is used."""
    if is_own_store():
        return MLFLOW_DATABASE.exists()
    database = _database()
    return database is None or database.exists()


def is_own_store() -> bool:
    """Is the store the one beside the project?"""
    # MLflow puts what set_tracking_uri was given into the environment
    return os.environ.get("MLFLOW_TRACKING_URI") in (None, "", _OWN_STORE)


def run_url_of(run: Run) -> str:
    """The address of the run's page in the UI."""
    return address_of(run_page(run.info.experiment_id, run.info.run_id))


def version_of(version: ModelVersion) -> dict[str, str]:
    """What a `Release` says of a registered version."""
    number = str(version.version)
    page = address_of(version_page(version.name, number))
    return {"version": number, "model_uri": f"models:/{version.name}/{number}", "version_url": page}
