"""What the user sees: a line a step, a spinner on a terminal, and a closing summary."""

import logging
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.status import Status

from flows.command_line.encodings import writable_in_any_encoding
from tasks.core.paths import MLFLOW_DATABASE
from tasks.core.records.steps import ExportResult
from tasks.core.reports.wording import VERDICT_MARKS, latency_sentence

_COLOURS = {"pass": "green", "fail": "red", "inconclusive": "yellow", "error": "red"}
MARKS = {verdict: f"[{_COLOURS[verdict]}]{mark}[/]" for verdict, mark in VERDICT_MARKS.items()}
"""By verdict, with the markup of rich."""
_OWN_STORE = f"sqlite:///{MLFLOW_DATABASE}"


class _Listener(logging.Handler):
    """Passes records on. Nothing happens when it is closed, as Prefect's `dictConfig` closes all handlers there are."""

    def __init__(self, show: Callable[[logging.LogRecord], None]) -> None:
        super().__init__(logging.DEBUG)
        self._show = show

    def emit(self, record: logging.LogRecord) -> None:
        """Pass a record on."""
        self._show(record)


class Display:
    """Shows the records of the `assay` logger and the results."""

    def __init__(self, *, to_stderr: bool) -> None:
        file = writable_in_any_encoding(sys.stderr if to_stderr else sys.stdout)
        self._console = Console(file=file, highlight=False, soft_wrap=True)
        self._errors = Console(file=writable_in_any_encoding(sys.stderr), highlight=False, soft_wrap=True)
        self._listener = _Listener(self.show)
        self._status: Status | None = None
        self._waits_for = ""
        self._started = time.perf_counter()

    def title(self, name: str) -> None:
        """Print the name of the model that comes now, and show what is logged from now on."""
        self.listen()
        self.line(f"[bold]{escape(name)}[/]")

    def listen(self) -> None:
        """Show what the steps log from now on."""
        logger = logging.getLogger("assay")
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
        logger.addHandler(self._listener)

    def line(self, text: str) -> None:
        """Print a line with the markup of rich."""
        self._stop_status()
        self._console.print(text)

    def wait(self, what: str) -> None:
        """Say what is being waited for: on a terminal only, beside a spinner, until the next line."""
        self._stop_status()
        self._waits_for = what
        if self._console.is_terminal:
            spinner = "line" if self._console.options.ascii_only else "dots"
            self._status = self._console.status(what, spinner=spinner)
            self._status.start()

    def error(self, sentence: str) -> None:
        """Print what went wrong."""
        self._stop_status()
        self._console.show_cursor()  # a process that died amid a step hid it
        self._errors.print(f"[red]error:[/] {escape(sentence)}")

    def show(self, record: logging.LogRecord) -> None:
        """Show a log record: a step that starts, a step that ended, or a plain message."""
        step, seconds = getattr(record, "step", None), getattr(record, "seconds", None)
        message = escape(record.getMessage())
        if getattr(record, "progress", False):
            if self._status is not None:
                self._status.update(f"{self._waits_for} {message}")
        elif step is None:
            if record.levelno >= logging.INFO:
                self.line(f"  {message}")
        elif seconds is None:
            self.wait(f"{step} …")
        else:
            self.line(f"  {step:<18} {seconds:6.1f} s  [dim]{message.partition(': ')[2]}[/]")

    def summary(self, results: list[ExportResult]) -> None:
        """Print each result that MLflow holds, and how to load and browse it."""
        for result in results:
            if result.release is not None:
                self.line("")
                self.line(_heading(result))
                for line in _details(result):
                    self.line(f"  {line}")
        if any(result.variant for result in results):
            from flows.command_line.variants import variants_table

            self.line("")
            self._console.print(variants_table(results))
        if any(result.release for result in results):
            what = "file" if any(result.file for result in results) else "model"
            what += "s" if len(results) > 1 else ""
            self.line(f"{len(results)} {what} in {time.perf_counter() - self._started:.1f} s")

    def close(self) -> None:
        """Stop the spinner and let the logger go."""
        self._stop_status()
        logging.getLogger("assay").removeHandler(self._listener)

    def _stop_status(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None


def _heading(result: ExportResult) -> str:
    number = result.release and result.release.version
    said = f"{'unchanged, ' if result.unchanged else ''}{f'version {number}' if number else 'no version'}"
    if result.file is not None:
        is_proven = result.verdict == "pass" and result.variant is None  # of a lossy file its loss is said, no more
        said = f"computes what {escape(result.name)} computes" if is_proven else ""
    if result.variant is not None and result.variant.claim:
        said = f"{said}: {escape(result.variant.claim)}".removeprefix(": ")
    return f"{MARKS[result.verdict]}  [bold]{escape(result.file or result.name)}[/] {said}".rstrip()


def _details(result: ExportResult) -> Iterator[str]:
    """Lines on a result that MLflow holds."""
    is_proven, is_export = result.verdict == "pass", result.file is None
    if result.variant is not None:
        kept = result.variant.kept
        yield f"made of  {escape(result.variant.source)}" + (f", in float32: {escape(', '.join(kept))}" if kept else "")
    if figures := figures_of(result):
        timed = is_export and not result.unchanged
        yield figures + (f", {sum(result.seconds.values()):.1f} s to export and prove" if timed else "")
    if result.evidence and result.evidence.coverage:
        yield f"weights  {result.evidence.coverage.sentence}"
    if result.latency:
        yield f"speed    {escape(latency_sentence(result.latency))}"
    if not is_export and not is_proven:
        yield f"reason   {escape(result.reason)}"
    if result.evidence and result.evidence.blame:
        yield f"where    {escape(result.evidence.blame.sentence)}"
    for dim in result.evidence.dims if result.evidence else ():
        if dim.refused_by_model:
            sizes, refused = (", ".join(map(str, s)) for s in (dim.sizes, dim.refused_by_model))
            yield f"note     {dim.name} is right at {sizes}; the model itself refuses {refused}"
    for note in result.notes:
        yield f"note     {escape(note)}"
    if result.onnx_path and is_export:
        yield f"file     {result.onnx_path}" + ("" if is_proven else " (not proven)")
    if result.release and result.release.model_uri and is_proven:
        yield f'load     {_store_line()}mlflow.pyfunc.load_model("{result.release.model_uri}").predict(...)'
    if result.release and result.release.page:
        yield f"browse   {ui_command()}{result.release.page}"


def figures_of(result: ExportResult) -> str:
    """Noise ratio and size, for a line about a result; empty where nothing was compared."""
    ratio, graph = result.worst("noise_ratio"), result.graph
    return "" if ratio is None else f"noise ratio {ratio:.2f}, {decimal(graph.size_bytes if graph else 0)}"


def ui_command() -> str:
    """The command that starts MLflow's UI, from any folder, for a sentence; empty where a tracking server has one."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or _OWN_STORE
    if uri.startswith("http"):
        return ""
    program = shlex.quote(str(Path(sys.executable).with_name("mlflow")))  # the environment need not be activated
    store = shlex.quote(uri) if uri.startswith("sqlite") else '"$MLFLOW_TRACKING_URI"'  # which may hold a password
    return f"{program} ui --backend-store-uri {store}, then "


def _store_line() -> str:
    """Python that names the store beside the project; any other one is named by the user's environment."""
    is_own = os.environ.get("MLFLOW_TRACKING_URI") in (None, "", _OWN_STORE)
    return f'import mlflow; mlflow.set_tracking_uri("{_OWN_STORE}"); ' if is_own else ""
