"""What a warm process is asked to do: check specs, export one.

Whoever asks imports this file, too, to name the function; what needs PyTorch is imported where it runs.
"""

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from flows.command_line.display import Display
from flows.outcomes import failed, outcome
from flows.processes.warm_process import WarmProcess
from tasks.core.errors import AssayError, CrashError, ModelError
from tasks.core.records.steps import ExportResult
from tasks.core.spec.export_spec import ResolvedSpec

CHECK_SECONDS = 600.0
"""In which specs are checked; importing a model's own code may take a while."""


def services() -> dict[str, str]:
    """The variables that say where MLflow and Prefect are, for a process that may be on another machine."""
    from prefect.settings import PREFECT_API_URL

    names = ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME")
    environment = {name: value for name in names if (value := os.environ.get(name))}
    return {**environment, "PREFECT_API_URL": PREFECT_API_URL.value() or ""}


def export_here(
    spec: ResolvedSpec,
    *,
    environment: Mapping[str, str],
    force: bool = False,
    output: Path | None = None,
    verbose: bool = False,
    parent_run_id: str | None = None,
) -> ExportResult:
    """Export one model in this process; whatever goes wrong becomes its result.

    Args:
        spec: a resolved spec.
        environment: as `services` gives it.
        force: export even where nothing changed.
        output: also put the proven file there.
        verbose: log the graph, readable.
        parent_run_id: MLflow run of the sweep.
    """
    from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    from flows.export import export_model

    _follow(environment)
    address = environment.get("PREFECT_API_URL") or PREFECT_API_URL.value()
    # nobody listens for the heartbeats of a model's flow, and their thread holds up its end by a second
    with temporary_settings({PREFECT_API_URL: address, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        try:
            return outcome(
                lambda: export_model(spec, force=force, output=output, verbose=verbose, parent_run_id=parent_run_id),
                spec.title,
                verbose=verbose,
            )
        except KeyboardInterrupt:  # the model's own: this process does not get the user's
            return failed(spec.title, ModelError(f"{spec.title} raised KeyboardInterrupt."))


def export_shown(
    spec: ResolvedSpec,
    *,
    to_stderr: bool,
    environment: Mapping[str, str],
    force: bool,
    output: Path | None,
    verbose: bool,
) -> ExportResult:
    """As `export_here`, with a line a step on the terminal.

    Args:
        spec: a resolved spec.
        to_stderr: standard output is for results alone.
        environment: as `services` gives it.
        force: export even where nothing changed.
        output: also put the proven file there.
        verbose: show the graph, too.
    """
    display = Display(to_stderr=to_stderr)
    display.listen()
    try:
        return export_here(spec, environment=environment, force=force, output=output, verbose=verbose)
    finally:
        display.close()


def check_apart(specs: Sequence[ResolvedSpec], process: WarmProcess, max_seconds: float) -> list[AssayError | float]:
    """As `check_here`, in a process of its own: all specs at once, unless one kills the process."""
    try:
        return process.run("checking what was asked for", max_seconds, check_here, specs)
    except CrashError:
        return [_check_alone(spec, process, max_seconds) for spec in specs]


def _check_alone(spec: ResolvedSpec, process: WarmProcess, max_seconds: float) -> AssayError | float:
    try:
        (found,) = process.run(f"loading {spec.title}", max_seconds, check_here, [spec])
    except CrashError as error:
        return error
    return found


def check_here(specs: Sequence[ResolvedSpec]) -> list[AssayError | float]:
    """Of each spec what is wrong with it, or about how much it costs to export."""
    return [_checked(spec) for spec in specs]


def _checked(spec: ResolvedSpec) -> AssayError | float:
    from tasks.core.families.registry import family_of
    from tasks.core.model.preflight import check

    try:
        check(spec)
    except AssayError as error:
        return type(error)(str(error))
    return family_of(spec.model).gflop(spec.model)


def _follow(environment: Mapping[str, str]) -> None:
    import mlflow

    warnings.filterwarnings("ignore")
    os.environ.update(environment)
    if uri := environment.get("MLFLOW_TRACKING_URI"):
        mlflow.set_tracking_uri(uri)
