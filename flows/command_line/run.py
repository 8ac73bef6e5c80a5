"""What the command lines share: every error becomes one sentence, a result and an exit status."""

import argparse
import errno
import gc
import importlib
import json
import logging
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO, TypeVar

from flows.command_line.display import Display
from flows.command_line.parsers import Parser
from flows.outcomes import failed, flattened
from tasks.core.errors import AssayError, SpecError, VerdictError, as_assay_error, exit_status_of
from tasks.core.provenance.signatures import check_keys
from tasks.core.records.record import Record
from tasks.core.records.steps import ExportResult
from tasks.core.runtime.descriptors import leave_descriptors
from tasks.core.runtime.interruptions import SIGNALS, listen
from tasks.core.spec.destination import check_writable
from tasks.core.spec.export_spec import ResolvedSpec
from tasks.core.spec.resolve import check

EXIT_INTERRUPTED = 130

D = TypeVar("D", bound=Display)
Body = Callable[[argparse.Namespace, list[Any], D], int | None]


def run_command(parser: Parser, body: Body[D], arguments: list[str] | None, *, display_class: type[D]) -> int:
    """Run a command line and give its exit status: parse, do, show; the JSON is written on every exit.

    Args:
        parser: of its options, `add_output_options` among them.
        body: does what is asked; takes the options, an empty list for the results, and the display. The exit status
            follows from the results, unless it gives one.
        arguments: None: those of this process.
        display_class: shows progress and results.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    target = _json_target(arguments)
    standard_output = _only_results_to_standard_output() if target == "-" else None
    leave_descriptors()
    listen(*SIGNALS)  # to end tidily, the JSON written
    results, status, options = list[Any](), None, argparse.Namespace(json=target)
    display = display_class(to_stderr=target == "-")
    gc.disable()  # nothing that is being imported is garbage
    try:
        if target not in (None, "-"):
            try:
                check_writable(Path(target), makes_folders=False)
            except SpecError:
                target = None  # the sentence is all that can be told
                raise
        options = parser.parse_intermixed_args(arguments)  # MODEL --weights W FILE.onnx, too
        _set_environment()
        check_keys()
        status = body(options, results, display)
    except AssayError as error:
        results.append(failed("", error))
        display.error(str(error))
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        results.append(failed("", known := as_assay_error(error, "")))
        display.error(str(known))
    except KeyboardInterrupt:
        display.error("Interrupted; what was finished stays finished.")
        return EXIT_INTERRUPTED
    finally:
        display.close()
        gc.freeze()  # or the interpreter searches all of PyTorch for garbage before it ends, for 1.5 s
        gc.enable()
        is_written = _write_json(options.json and target, results, standard_output)
    if status is None:
        display.summary(results)
        status = max((_exit_status(result) for result in results), default=SpecError.exit_status)
    return status if is_written else max(status, SpecError.exit_status)


def import_steps(spec: ResolvedSpec, *modules: str) -> None:
    """Check a spec and import what its steps need, while Prefect's server starts; nothing imported is garbage.

    Args:
        spec: of the model.
        modules: their names.

    Raises:
        AssayError: what is asked for is wrong, or MLflow could not be reached.
    """
    check(spec)
    for module in modules:
        importlib.import_module(module)
    from tasks.mlflow_store.store import connect, service_errors

    with service_errors():
        connect().search_experiments(max_results=1)
    gc.freeze()
    gc.enable()


def _set_environment() -> None:
    """Set the libraries' log levels and PyTorch's use of memory and threads, before they are imported."""
    if "PREFECT_LOGGING_LEVEL" not in os.environ:  # else the terminal is meant
        os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    for name, value in {
        "PREFECT_LOGGING_HANDLERS_API_LEVEL": "INFO",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "assay",  # a server that is configured gets what the steps say
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_API_REQUEST_TIMEOUT": "5",  # an export does not wait for minutes for its record
        "PREFECT_CLIENT_MAX_RETRIES": "3",
        "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",
        "MLFLOW_LOGGING_LEVEL": "ERROR",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "DASK_LOGGING__DISTRIBUTED": "error",
        "THP_MEM_ALLOC_ENABLE": "1",  # huge pages: AlexNet's weights become float64 in 0.3 s, without in 1.1 s
        "OMP_WAIT_POLICY": "passive",  # on shared cores ResNet-50's proof takes 8 s of their time; spinning, 25 to 41 s
    }.items():
        os.environ.setdefault(name, value)
    for name in ("mlflow", "alembic", "httpx", "urllib3"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # it would print pages; the error says it
    warnings.filterwarnings("ignore")


def _exit_status(result: ExportResult) -> int:
    if result.error is not None:
        return exit_status_of(result.error.type)
    return 0 if result.verdict == "pass" else VerdictError.exit_status


def _json_target(arguments: list[str]) -> str | None:
    """The value of --json, found even where the other options can't be parsed."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--json", nargs="?")
    target: str | None = parser.parse_known_args(arguments)[0].json
    return target


def _only_results_to_standard_output() -> TextIO:
    """Redirect standard output, of models and libraries too, to standard error; return the original."""
    sys.stdout.flush()
    kept = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return kept


def _entry(result: Record) -> dict[str, Any]:
    """A result as the JSON has it; only an export's may be an error."""
    if isinstance(result, ExportResult):
        return flattened(result)
    return {**json.loads(result.model_dump_json()), "error": None}


def _write_json(target: str | None, results: list[Record], standard_output: TextIO | None) -> bool:
    """Write the results; whether that went well, or nobody asked for them."""
    if target is None:
        return True
    content = {"results": [_entry(result) for result in results]}
    text = json.dumps(content, indent=2) + "\n"
    try:
        if standard_output is not None:
            with standard_output:
                standard_output.write(text)
        else:
            Path(target).write_text(text)
    except OSError as error:
        sys.stderr.write(f"error: --json {target} can't be written ({error}).\n")
        return False
    return True
