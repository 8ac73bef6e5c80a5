"""The command line of flows/export.py: options in, progress and a summary out, exit status."""

import argparse
import gc
import os
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from flows.command_line.display import Display
from flows.command_line.listing import model_lines
from flows.command_line.options import make_specs
from flows.command_line.parsers import export_parser
from flows.command_line.run import import_steps, run_command
from flows.command_line.variants import variant_path, variant_terms
from flows.outcomes import ended, outcome
from flows.processes.prefect_address import unheard
from flows.processes.temporary_server import TemporaryServer
from flows.processes.warm_process import IMPORTS, WarmProcesses
from tasks.core.errors import AssayError, CrashError, SpecError
from tasks.core.records.steps import ExportResult
from tasks.core.spec.destination import check_destination
from tasks.core.spec.export_spec import ResolvedSpec
from tasks.core.spec.resolve import check_files

EXPORT_SECONDS = 6 * 3600.0
"""After which a model's process is given up; its steps give up sooner."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    return run_command(export_parser(), _run, arguments, display_class=Display)


def _run(options: argparse.Namespace, results: list[ExportResult], display: Display) -> int | None:
    if options.list is not None:
        for line in model_lines(options.list):
            display.line(line)
        return 0
    specs = make_specs(options)
    for spec in specs:
        check_files(spec)
    variant_terms(options)  # what is wrong is said before the work
    outputs = {spec.title: _output_path(options.destination, spec, len(specs)) for spec in specs}
    job = _Job(options, outputs, results, display, TemporaryServer())
    job.server.start()  # on the second core, while this process imports and looks
    _clean_up()
    changed = [spec for spec in specs if options.force or options.accept_contract or not _unchanged(spec, job)]
    if changed:
        display.wait("importing PyTorch, checking what was asked for")
    if len(changed) == 1:
        _export_alone(changed[0], job)
    elif changed:
        _export_apart(changed, job)
    if options.variants:
        _make_variants(specs, job)
    return None


@dataclass(frozen=True)
class _Job:
    """The options, outputs and results of one call of the command."""

    options: argparse.Namespace
    outputs: dict[str, Path | None]
    results: list[ExportResult]
    display: Display
    server: TemporaryServer

    def terms(self, spec: ResolvedSpec) -> dict[str, Any]:
        """Arguments of `export_model` beside the spec."""
        names = ("force", "check", "verbose", "accept_contract", "timing")
        asked = {name: getattr(self.options, name) for name in names}
        return {**asked, "output": self.outputs[spec.title]}

    def add(self, result: ExportResult) -> None:
        """Keep a result, and print what is wrong with it."""
        self.results.append(result)
        if result.complaint:
            self.display.error(result.complaint)


def _clean_up() -> None:
    from tasks.mlflow_store.stale import clean_up

    clean_up()


def _unchanged(spec: ResolvedSpec, job: _Job) -> bool:
    from tasks.deliver_file import deliver_file
    from tasks.find_unchanged import find_unchanged
    from tasks.mlflow_store.proven import find_proven

    output = job.outputs[spec.title]
    result = find_unchanged(spec, find_proven(spec.title, check=job.options.check or output is not None))
    if result is not None:
        job.results.append(deliver_file(result, output))
        job.display.title(spec.title)
        job.display.line(f"  unchanged: {result.reason}")
    return result is not None


def _export_alone(spec: ResolvedSpec, job: _Job) -> None:
    """Export in this process, which starts sooner than another."""
    import_steps(spec, *IMPORTS)
    from flows.export import export_model

    export = partial(export_model, spec, **job.terms(spec))
    with job.server.ready(), unheard():
        job.display.title(spec.title)
        job.add(outcome(export, spec.title, verbose=job.options.verbose))


def _export_apart(specs: list[ResolvedSpec], job: _Job) -> None:
    """Export each model in a process of its own: what one does to PyTorch or its process does not reach the next."""
    from flows.processes.export_here import CHECK_SECONDS, check_apart, export_here, services

    gc.enable()
    with closing(WarmProcesses()) as processes:
        findings = check_apart(specs, processes, CHECK_SECONDS)
        for found in findings:
            if isinstance(found, AssayError) and not isinstance(found, CrashError):
                raise found
        with job.server.ready():
            for spec, found in zip(specs, findings, strict=True):
                job.display.title(spec.title)
                try:
                    if isinstance(found, CrashError):
                        raise found
                    result = processes.run(
                        spec.title, EXPORT_SECONDS, export_here, spec,
                        to_stderr=job.options.json == "-", environment=services(), **job.terms(spec),
                    )  # fmt: skip
                except CrashError as error:
                    result = ended(spec, error)
                job.add(result)


def _make_variants(specs: list[ResolvedSpec], job: _Job) -> None:
    """Make what was asked for of each proven file; the results stand behind all exports."""
    terms = variant_terms(job.options)
    job.display.wait("importing ONNX Runtime's tools")
    from flows.variants import export_variant, variant_name

    proven = {result.name: result for result in job.results if result.verdict == "pass"}
    with job.server.ready():
        for spec in (spec for spec in specs if spec.title in proven):
            for asked in terms:
                name = variant_name(spec.title, asked)
                job.display.title(name)
                path = variant_path(job.outputs[spec.title], asked)
                make = partial(
                    export_variant,
                    spec,
                    proven[spec.title],
                    asked,
                    force=job.options.force,
                    output=path,
                    timing=job.options.timing,
                )
                job.add(outcome(make, name, verbose=job.options.verbose))


def _output_path(destination: str | None, spec: ResolvedSpec, num_specs: int) -> Path | None:
    if destination is None:
        return None
    path = Path(destination).expanduser()
    if destination.endswith(("/", os.sep)) or path.is_dir():
        path = path / f"{spec.title}.onnx"
    elif num_specs > 1:
        raise SpecError(f"-o {destination} is one file for {num_specs} models; give a folder: -o {destination}/")
    check_destination(path, spec)
    return path
