"""The command line of flows/export.py: options in, progress and a summary out, exit status."""

import argparse
import gc
import json
import logging
import os
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

from flows.display import Display
from flows.options import Parser, add_spec_options, make_specs
from flows.temporary_server import TemporaryServer
from tasks.core.errors import AssayError, ExportError, ServiceError, SpecError
from tasks.core.records import ErrorRecord, ExportResult
from tasks.core.spec import ExportSpec

EXIT_NOT_PROVEN, EXIT_BAD_INPUT, EXIT_NO_SERVICE, EXIT_INTERRUPTED = 1, 2, 3, 130


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    results: list[ExportResult] = []
    display = Display(to_stderr=_json_target(arguments) == "-")
    try:
        options = _parser().parse_args(arguments)
        _run(options, results, display)
    except AssayError as error:
        results.append(_failed("", error))
        display.error(error)
    except KeyboardInterrupt:
        display.error(SpecError("Interrupted; what was finished stays finished."))
        return EXIT_INTERRUPTED
    finally:
        display.close()
        gc.freeze()  # or the interpreter searches all of PyTorch for garbage before it ends, for 1.5 s
        _write_json(_json_target(arguments), results)
    display.summary(results)
    return max((_exit_status(result) for result in results), default=EXIT_BAD_INPUT)


def _parser() -> Parser:
    parser = Parser(
        prog="python flows/export.py",
        description="Turn PyTorch models into ONNX files, prove each, and register it in MLflow.",
        epilog="Exit status: 0 proven or unchanged, 1 not proven, 2 bad input, 3 a service could not be reached.",
    )
    parser.add_argument(
        "models",
        nargs="*",
        metavar="MODEL",
        help="catalog entry, torchvision name, package.module:Class or path/to/file.py:Class; default digits",
    )
    add_spec_options(parser)
    add = parser.add_argument
    add("-o", dest="destination", metavar="FILE|DIR/", help="also put the proven file there")
    add("--force", action="store_true", help="export even where nothing changed")
    add("--verbose", action="store_true", help="print the graph")
    add("--json", metavar="FILE", help="machine-readable result; - for standard output")
    return parser


def _run(options: argparse.Namespace, results: list[ExportResult], display: Display) -> None:
    specs = make_specs(options)
    if options.json and options.json != "-":
        _check_writable(Path(options.json))
    outputs = {spec.title: _output_path(options.destination, spec, len(specs)) for spec in specs}
    _set_environment()
    server = TemporaryServer()
    server.start()  # on the second core, while this process imports and looks
    gc.disable()  # nothing that is being imported is garbage
    changed = [spec for spec in specs if options.force or not _unchanged(spec, outputs, results, display)]
    if changed:
        _export(changed, options, outputs, results, display, server)


def _unchanged(
    spec: ExportSpec, outputs: dict[str, Path | None], results: list[ExportResult], display: Display
) -> bool:
    from flows.export import find_unchanged

    result = find_unchanged(spec, output=outputs[spec.title])
    if result is not None:
        results.append(result)
        display.title(spec.title)
        display.line(f"unchanged: {result.reason}")
    return result is not None


def _export(
    specs: list[ExportSpec],
    options: argparse.Namespace,
    outputs: dict[str, Path | None],
    results: list[ExportResult],
    display: Display,
    server: TemporaryServer,
) -> None:
    from tasks.core.checks import check

    display.line("importing PyTorch, checking what was asked for", fleeting=True)
    for spec in specs:
        check(spec)
    # what the flow will need, while the server starts
    import tasks.export_onnx
    import tasks.validate_onnx  # noqa: F401
    from tasks.log_export import connect

    connect().search_experiments(max_results=1)
    gc.freeze()
    gc.enable()
    with server.ready():
        for spec in specs:
            display.title(spec.title)
            results.append(_export_one(spec, options, outputs[spec.title], display))


def _export_one(spec: ExportSpec, options: argparse.Namespace, output: Path | None, display: Display) -> ExportResult:
    import httpx

    from flows.export import VerdictError, export_model

    try:
        return export_model(spec, force=options.force, output=output, verbose=options.verbose)
    except VerdictError as error:
        display.error(error)
        return error.result
    except AssayError as error:
        display.error(error)
        return _failed(spec.title, error)
    except (httpx.TransportError, httpx.HTTPStatusError) as error:
        lost = ServiceError(f"Prefect's server could not be reached ({error}); check PREFECT_API_URL, or unset it.")
        display.error(lost)
        return _failed(spec.title, lost)
    except TimeoutError as error:
        late = ExportError(f"{spec.title} took longer than its step may take ({error}).")
        display.error(late)
        return _failed(spec.title, late)
    except Exception as error:  # a defect, of Assay or a library: the other models' results must survive it
        if options.verbose:
            traceback.print_exc()
        said = " ".join(str(error).split())[:300]
        defect = ExportError(f"{spec.title} met a defect, {type(error).__name__}: {said}; --verbose shows where.")
        display.error(defect)
        return _failed(spec.title, defect)


def _output_path(destination: str | None, spec: ExportSpec, num_specs: int) -> Path | None:
    if destination is None:
        return None
    path = Path(destination).expanduser()
    if destination.endswith(("/", os.sep)) or path.is_dir():
        path = path / f"{spec.title}.onnx"
    elif num_specs > 1:
        raise SpecError(f"-o {destination} is one file for {num_specs} models; give a folder: -o {destination}/")
    _check_writable(path)
    return path


def _check_writable(path: Path) -> None:
    """See before hours of work that a file can be written there.

    Raises:
        SpecError: it can't.
    """
    folder = next(parent for parent in path.expanduser().absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK) or path.is_dir():
        raise SpecError(f"{path} can't be written; name a file in a folder that you may write to.")


def _set_environment() -> None:
    """Keep the libraries' chatter from the user, and let PyTorch take huge pages; set before they are imported.

    Raising AlexNet's weights to float64 takes 0.3 s with huge pages and 1.1 s without.
    """
    for name, value in {
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "MLFLOW_LOGGING_LEVEL": "ERROR",
        "THP_MEM_ALLOC_ENABLE": "1",
    }.items():
        os.environ.setdefault(name, value)
    for name in ("mlflow", "alembic", "httpx", "urllib3"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")


def _failed(name: str, error: AssayError) -> ExportResult:
    record = ErrorRecord(type=type(error).__name__, message=str(error))
    return ExportResult(
        name=name, verdict="error", reason=str(error), run_id=error.run_id, run_url=error.run_url, error=record
    )


def _exit_status(result: ExportResult) -> int:
    if result.error is None:
        return 0 if result.verdict == "pass" else EXIT_NOT_PROVEN
    kinds: dict[str, type[AssayError]] = {}
    pending: list[type[AssayError]] = [AssayError]
    while pending:
        kind = pending.pop()
        kinds[kind.__name__] = kind
        pending += kind.__subclasses__()
    return kinds[result.error.type].exit_status


def _json_target(arguments: list[str]) -> str | None:
    """The value of --json, found even where the other options can't be parsed."""
    for index, argument in enumerate(arguments):
        if argument.startswith("--json="):
            return argument.partition("=")[2]
        if argument == "--json" and index + 1 < len(arguments):
            return arguments[index + 1]
    return None


def _write_json(target: str | None, results: list[ExportResult]) -> None:
    if target is None:
        return
    content: dict[str, Any] = {"results": [json.loads(result.model_dump_json()) for result in results]}
    text = json.dumps(content, indent=2) + "\n"
    if target == "-":
        sys.stdout.write(text)
    else:
        try:
            Path(target).write_text(text)
        except OSError as error:
            sys.stderr.write(f"error: --json {target} can't be written ({error}).\n")
