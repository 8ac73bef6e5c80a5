"""Step 1: find the weights, fetch them if need be, and verify them."""

from pathlib import Path

from tasks.core.errors import ServiceError, WeightsError
from tasks.core.records.steps import Weights
from tasks.core.runtime.work_folders import temporary_files_in, work_folder
from tasks.core.spec.export_spec import ResolvedSpec
from tasks.core.spec.resolve import known_family
from tasks.core.weights.download import keep_in_cache
from tasks.core.weights.folders import weights_file
from tasks.core.weights.sources import find_weights
from tasks.step import step


@step(
    seconds=3600,
    says=lambda weights: weights.origin,
    keeps=lambda weights: {"weights": weights},
    retries=2,
    retry_delay_seconds=[1, 3],
    retry_jitter_factor=0.5,
    # only a service that was out of reach is worth another try
    retry_condition_fn=lambda _task, _run, state: isinstance(state.result(raise_on_failure=False), ServiceError),
)
def fetch_weights(spec: ResolvedSpec) -> Weights:
    """Find and verify the weights of a resolved spec."""
    known_family(spec)  # a name that its family does not have gets the closest ones
    return find_weights(spec, fetch_from_mlflow)


def fetch_from_mlflow(uri: str) -> Path:
    """Fetch `runs:/RUN/PATH`, `models:/NAME/VERSION` or `models:/NAME@ALIAS`; gives its weights file.

    It lies in the cache, by its content, or where a local store keeps it.

    Raises:
        WeightsError: nothing is there, or not exactly one weights file.
        ServiceError: the tracking server could not be reached.
    """
    import mlflow
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RequestException

    from tasks.mlflow_store.store import connect

    connect()
    try:
        with work_folder() as folder, temporary_files_in(folder):  # what is fetched lies there, what is local does not
            found = weights_file(Path(mlflow.artifacts.download_artifacts(uri)), title=uri)
            return keep_in_cache(found) if found.resolve().is_relative_to(folder.resolve()) else found
    except RequestException as error:
        raise ServiceError(f"MLflow could not be reached for {uri}; check MLFLOW_TRACKING_URI.") from error
    except (MlflowException, OSError) as error:
        first = str(error).splitlines()[0].rstrip(".")
        raise WeightsError(f"MLflow has no {uri} ({first}); check the name, version and path.") from error
