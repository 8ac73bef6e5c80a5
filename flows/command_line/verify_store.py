"""The command line of flows/verify.py --store: a line a version of the store, exit status."""

import argparse

from rich.markup import escape

from flows.command_line.display import Display
from tasks.core.errors import SpecError, VerdictError
from tasks.core.records.stored import StoredVersion


def look_through_store(options: argparse.Namespace, results: list[StoredVersion], display: Display) -> int:
    """Say of each version whether what is stored is what was proven; the exit status.

    Args:
        options: `store` is a pattern of names.
        results: gets the versions.
        display: shows those that are not sound, and how many there are.
    """
    if options.model is not None:
        raise SpecError(f"--store looks through the store and takes no MODEL or FILE.onnx such as {options.model}.")
    display.wait("importing MLflow, hashing what is stored")
    from tasks.mlflow_store.look_through import look_through

    for found in look_through(options.store):
        results.append(found)
        if found.state != "sound":
            said = escape(f"{found.name}/{found.version}: {found.reason}")
            served = f" [dim](served as {', '.join(found.aliases)})[/]" if found.aliases else ""
            display.line(f"  [red]✘ {found.state}[/]  {said}{served}")
    damaged = [found for found in results if found.state != "sound"]
    display.line(f"[bold]{len(results) - len(damaged)} of {len(results)} versions are what was proven[/]")
    if not results and options.store != "*":
        raise SpecError(f"MLflow has no registered model of Assay's whose name fits {options.store!r}.")
    return VerdictError.exit_status if damaged else 0
