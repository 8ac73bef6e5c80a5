"""What warm processes run: check specs, export one. Their owner imports this file, too, without PyTorch."""

import os
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from flows.command_line.display import Display
from flows.outcomes import failed, outcome
from flows.processes.prefect_address import unheard
from flows.processes.warm_process import WarmProcesses
from tasks.core.errors import AssayError, CrashError, ModelError
from tasks.core.records.steps import ExportResult
from tasks.core.spec.export_spec import ResolvedSpec

CHECK_SECONDS = 600.0
"""Time limit of checking the specs; importing a model's own code may take a while."""


def services() -> dict[str, str]:
    """Environment variables with the addresses of MLflow and Prefect, for a process on this or another machine."""
    from prefect.settings import PREFECT_API_URL, PREFECT_LOGGING_TO_API_ENABLED

    names = ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME")
    environment = {name: value for name in names if (value := os.environ.get(name))}
    logs = str(PREFECT_LOGGING_TO_API_ENABLED.value()).lower()
    return {**environment, "PREFECT_API_URL": PREFECT_API_URL.value() or "", "PREFECT_LOGGING_TO_API_ENABLED": logs}


def export_here(
    spec: ResolvedSpec, *, environment: Mapping[str, str], to_stderr: bool | None = None, **options: Any
) -> ExportResult:
    """Export one model in this process; whatever goes wrong becomes its result.

    Args:
        spec: what to export.
        environment: as `services` gives it.
        to_stderr: print a line per step, to standard error or to standard output; None: print nothing.
        options: of `export_model`.
    """
    from prefect.settings import (
        PREFECT_API_URL,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        PREFECT_LOGGING_TO_API_ENABLED,
        temporary_settings,
    )  # fmt: skip

    from flows.export import export_model

    warnings.filterwarnings("ignore")
    os.environ.update(environment)
    display = Display(to_stderr=bool(to_stderr))
    if to_stderr is not None:
        display.listen()
    address = environment.get("PREFECT_API_URL") or PREFECT_API_URL.value()
    settings = {
        PREFECT_API_URL: address,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,  # nobody listens, and their thread holds up each flow by a second
        PREFECT_LOGGING_TO_API_ENABLED: environment.get("PREFECT_LOGGING_TO_API_ENABLED") != "false",
    }
    with temporary_settings(settings), unheard():
        try:
            return outcome(partial(export_model, spec, **options), spec.title, verbose=options.get("verbose", False))
        except KeyboardInterrupt as error:  # the model's own: this process does not get the user's
            raised = ModelError(f"{spec.title} raised KeyboardInterrupt.")
            raised.__dict__ |= error.__dict__  # the run that recorded it
            return failed(spec.title, raised)
        finally:
            display.close()


def check_apart(
    specs: Sequence[ResolvedSpec], processes: WarmProcesses, max_seconds: float
) -> list[AssayError | float]:
    """Check as `check_here` does, in another process; if one spec kills it, each in a process of its own.

    Args:
        specs: what to check.
        processes: in which the models' code is imported.
        max_seconds: after which a process is stopped.
    """
    what = "checking what was asked for" if len(specs) > 1 else f"loading {specs[0].title}"
    try:
        return processes.run(what, max_seconds, check_here, specs)
    except CrashError as error:
        if len(specs) == 1:
            return [error]
        return [found for spec in specs for found in check_apart([spec], processes, max_seconds)]


def check_here(specs: Sequence[ResolvedSpec]) -> list[AssayError | float]:
    """Check specs in this process; each one's error, or else its estimated cost in GFLOP."""
    from tasks.core.families.registry import family_of
    from tasks.core.spec.resolve import check

    found: list[AssayError | float] = []
    for spec in specs:
        try:
            check(spec)
            found.append(family_of(spec.model).gflop(spec.model))
        except AssayError as error:
            found.append(error)
    return found
