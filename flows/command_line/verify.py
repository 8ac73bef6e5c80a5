"""The command line of flows/verify.py: a model and files in, a line a file out, exit status."""

import argparse
from pathlib import Path
from typing import Any

from flows.command_line.display import Display
from flows.command_line.options import check_json, make_specs
from flows.command_line.parsers import verify_parser
from flows.command_line.run import import_steps, run_command
from flows.command_line.variants import evaluation_terms
from flows.command_line.verify_store import look_through_store
from flows.outcomes import failed, outcome
from flows.processes.temporary_server import TemporaryServer
from tasks.core.errors import SpecError
from tasks.core.paths import near_miss
from tasks.core.records.steps import ExportResult
from tasks.core.spec.resolve import check_files


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    return run_command(verify_parser(), _run, arguments, display_class=Display)


def _run(options: argparse.Namespace, results: list[Any], display: Display) -> int | None:
    if options.store is not None:
        return look_through_store(options, results, display)
    if options.model is None or not options.files:
        lacking = "MODEL, FILE.onnx" if options.model is None else "FILE.onnx"
        raise SpecError(f"the following arguments are required: {lacking}; see --help.")
    options.models = [options.model]
    declared = options.inputs is not None
    (spec,) = make_specs(options)
    check_files(spec)
    for file in options.files:
        _check_file(file)
    check_json(options, options.files)
    evaluation_terms(options)  # what is wrong is said before the work
    unreadable = _unreadable(options.files, spec.title)
    if len(unreadable) == len(options.files):  # of others, the readable ones are proven all the same
        results += unreadable
        for result in unreadable:
            display.error(result.complaint)
        return None
    server = TemporaryServer()
    server.start()  # on the second core, while this process imports
    display.wait("importing PyTorch, checking what was asked for")
    import_steps(spec, "flows.verify")
    terms = evaluation_terms(options)
    with server.ready():
        display.title(spec.title)

        def tell(result: ExportResult) -> None:
            results.append(result)  # at once: an interruption leaves what is finished
            if result.error is not None:
                display.error(result.error.message)

        def prove() -> ExportResult:
            if terms is not None:
                from flows.variants import judge_files

                judge_files(spec, options.files, terms, tell=tell)
            else:
                from flows.verify import verify_files

                verify_files(spec, options.files, declared=declared, tell=tell)
            return ExportResult.model_validate(results.pop())

        last = outcome(prove, spec.title, verbose=options.verbose)
        if last.error is not None and last.file is None:  # of a file it was told already
            display.error(last.error.message)
        results.append(last)
    return None


def _unreadable(files: list[Path], title: str) -> list[ExportResult]:
    """The results of files that are no ONNX files, which is seen without PyTorch."""
    from tasks.core.onnx_files.reading import read_graph

    found = []
    for file in files:
        try:
            read_graph(file)
        except SpecError as error:
            found.append(failed(title, error).model_copy(update={"file": str(file)}))
    return found


def _check_file(file: Path) -> None:
    if not file.is_file():
        raise SpecError(f"There is no file {file}; name .onnx files{near_miss(file)}")
    try:
        str(file).encode()
    except UnicodeEncodeError:
        raise SpecError(f"The name {str(file)!a} is no UTF-8 and can't be written down; rename the file.") from None
