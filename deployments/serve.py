"""Serve a deployment of every catalog entry from this process, on a schedule or on demand.

    python deployments/serve.py [NAME...] [--every SECONDS | --cron CRON]

Runs can be started in Prefect's UI or with `prefect deployment run export-model/NAME`. Stopping
this process pauses the schedules. Workers on other machines: see prefect.yaml.
"""

if __name__ == "__main__":  # before the imports below, which another Python may not have
    import sys
    from pathlib import Path

    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from flows.command_line.start import run

    raise SystemExit(run("serve"))

import argparse
import os
import sys
from typing import TYPE_CHECKING

from flows.command_line.encodings import writable_in_any_encoding
from tasks.core.errors import AssayError, ServiceError, SpecError

if TYPE_CHECKING:
    from prefect.deployments.runner import RunnerDeployment

DESCRIPTION = (
    "Looks whether the weights, the code or the packages of `{name}` changed; if not, nothing is done. If so, makes an "
    "ONNX file, proves that it computes what the PyTorch model computes, and registers it in MLflow as a new version. "
    "A file that is not proven fails the run, whose first line says why; `champion` stays where it is."
)
"""Of a deployment, in words of those who find it in Prefect's UI."""


def main(arguments: list[str] | None = None) -> int:
    """Serve until stopped; return the exit status."""
    for stream in (sys.stdout, sys.stderr):
        writable_in_any_encoding(stream)
    options = _parser().parse_args(arguments)
    os.environ.setdefault("PREFECT_LOGGING_EXTRA_LOGGERS", "assay")  # what the steps say, into the runs' logs
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the command lines have it
    try:
        deployments = make_deployments(options.names, every_seconds=options.every, cron=options.cron)
        check_server()
    except AssayError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    from prefect import serve

    serve(*deployments, limit=1)  # an export uses all cores
    return 0


def make_deployments(
    names: list[str] | None = None, *, every_seconds: int | None = None, cron: str | None = None
) -> "list[RunnerDeployment]":
    """Make a deployment of each named catalog entry, or of all.

    Args:
        names: entries of `deployments/catalog.yaml`; None: all.
        every_seconds: interval between runs; None: no interval.
        cron: run each at these times, in UTC, e.g. `0 3 * * *`.

    Raises:
        SpecError: a name is no entry, an entry is wrong, or the schedule is.
    """
    from tasks.core.spec.catalog import read_catalog  # not at the top: --help is there at once
    from tasks.core.spec.resolve import make_spec, resolve

    catalog = read_catalog()
    if unknown := sorted(set(names or ()) - catalog.keys()):
        raise SpecError(f"{unknown[0]!r} is no entry of deployments/catalog.yaml; it has {', '.join(catalog)}.")
    for name in names or catalog:
        resolve(make_spec(model=name), pins=False)
    from prefect.deployments.runner import RunnerDeployment
    from prefect.types.entrypoint import EntrypointType

    from flows.export import export_model

    try:
        return [
            RunnerDeployment.from_flow(
                export_model,
                name,
                description=DESCRIPTION.format(name=name),
                parameters={"spec": {"model": name}},
                interval=every_seconds,
                cron=cron,
                tags=["assay", name],
                entrypoint_type=EntrypointType.MODULE_PATH,  # a path would only be right in this folder
            )
            for name in names or catalog
        ]
    except ValueError as error:
        raise SpecError(f"The schedule is wrong: {str(error).splitlines()[0]}.") from error


def check_server() -> None:
    """Check that Prefect's server is configured and answers; a SpecError or ServiceError if not."""
    from prefect.settings import PREFECT_API_URL

    from flows.processes.prefect_address import START, check_address

    if not PREFECT_API_URL.value():
        raise ServiceError(f"Serving needs a Prefect server and none is configured; {START}.")
    check_address(str(PREFECT_API_URL.value()))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python deployments/serve.py",
        description="Serve a deployment of every entry of deployments/catalog.yaml.",
        epilog="Exit status: 0 stopped, 2 bad input, 3 no Prefect server.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="entries of the catalog; default all")
    schedule = parser.add_mutually_exclusive_group()
    schedule.add_argument("--every", type=_seconds, metavar="SECONDS", help="export that often; default only on demand")
    schedule.add_argument("--cron", metavar="CRON", help="export then, in UTC, e.g. '0 3 * * *'")
    return parser


def _seconds(text: str) -> int:
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds; write e.g. 3600")
    return int(text)
