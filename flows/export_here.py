"""What a warm process is asked to do: check specs, export one.

Whoever asks imports this file, too, to name the function; what needs PyTorch is imported where it runs.
"""

import os
import warnings
from collections.abc import Mapping, Sequence

from flows.command import failed, outcome
from tasks.core.errors import AssayError, ModelError
from tasks.core.records import ExportResult
from tasks.core.spec import ExportSpec


def export_here(
    spec: ExportSpec, *, force: bool, parent_run_id: str | None, environment: Mapping[str, str]
) -> ExportResult:
    """Export one model in this process; whatever goes wrong becomes its result.

    Args:
        spec: a resolved spec.
        force: export even where nothing changed.
        parent_run_id: MLflow run of the sweep.
        environment: variables that say where MLflow is.
    """
    from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    from flows.export import export_model

    _follow(environment)
    address = environment.get("PREFECT_API_URL") or PREFECT_API_URL.value()
    # nobody listens for the heartbeats of a model's flow, and their thread holds up its end by a second
    with temporary_settings({PREFECT_API_URL: address, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        try:
            return outcome(lambda: export_model(spec, force=force, parent_run_id=parent_run_id), spec.title)
        except KeyboardInterrupt:  # the model's own: this process does not get the user's
            return failed(spec.title, ModelError(f"{spec.title} raised KeyboardInterrupt."))


def check_here(specs: Sequence[ExportSpec]) -> list[AssayError | float]:
    """Of each spec what is wrong with it, or about how much it costs to export."""
    return [_checked(spec) for spec in specs]


def _checked(spec: ExportSpec) -> AssayError | float:
    from tasks.core.checks import check, cost

    try:
        check(spec)
    except AssayError as error:
        return type(error)(str(error))
    return cost(spec)


def _follow(environment: Mapping[str, str]) -> None:
    import mlflow

    warnings.filterwarnings("ignore")
    os.environ.update(environment)
    if uri := environment.get("MLFLOW_TRACKING_URI"):
        mlflow.set_tracking_uri(uri)
