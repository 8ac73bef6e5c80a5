"""What the user sees: a line a step, a spinner on a terminal, and a closing summary."""

import logging
import os
import sys
import time

from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.status import Status

from tasks.core.paths import MLFLOW_DATABASE, PROJECT_FOLDER
from tasks.core.records.steps import ExportResult

MARKS = {
    "pass": "[green]✔ pass[/]",
    "fail": "[red]✘ fail[/]",
    "inconclusive": "[yellow]? inconclusive[/]",
    "error": "[red]✘ error[/]",
}


class Display(logging.Handler):
    """Shows the records of the `assay` logger and the results."""

    def __init__(self, *, to_stderr: bool) -> None:
        super().__init__(logging.DEBUG)
        file = sys.stderr if to_stderr else sys.stdout
        self._console = Console(file=file, highlight=False, soft_wrap=True)
        self._errors = Console(file=sys.stderr, highlight=False, soft_wrap=True)
        self._status: Status | None = None
        self._started = time.perf_counter()

    def title(self, name: str) -> None:
        """Print the name of the model that comes now, and show what is logged from now on."""
        self.listen()
        self.line(f"[bold]{escape(name)}[/]", indent=0)

    def listen(self) -> None:
        """Show what the steps log from now on."""
        logger = logging.getLogger("assay")
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
        logger.addHandler(self)  # at every title: importing Prefect and MLflow takes handlers away

    def line(self, text: str, *, indent: int = 2, fleeting: bool = False) -> None:
        """Print a line.

        Args:
            text: with the markup of rich.
            indent: number of spaces before it.
            fleeting: show it on a terminal only, beside a spinner, until the next line.
        """
        self._stop_status()
        if not fleeting:
            self._console.print(" " * indent + text)
        elif self._console.is_terminal:
            self._status = self._console.status(text)
            self._status.start()

    def error(self, sentence: str) -> None:
        """Print what went wrong."""
        self._stop_status()
        self._console.show_cursor()  # a process that died amid a step hid it
        self._errors.print(f"[red]error:[/] {escape(sentence)}")

    def emit(self, record: logging.LogRecord) -> None:
        """Show a log record: a step that starts, a step that ended, or a plain message."""
        step, seconds = getattr(record, "step", None), getattr(record, "seconds", None)
        message = escape(record.getMessage())
        if step is None:
            if record.levelno >= logging.INFO:
                self.line(message)
        elif seconds is None:
            self.line(f"{step} …", fleeting=True)
        else:
            said = message.partition(": ")[2]
            self.line(f"{step:<18} {seconds:6.1f} s  [dim]{said}[/]")

    def summary(self, results: list[ExportResult]) -> None:
        """Print each result, and how to load and browse it."""
        for result in results:
            if result.release is None:
                continue
            self.line("", indent=0)
            if result.file is None:
                self._exported(result)
            else:
                self._verified(result)
            if result.evidence and result.evidence.blame:
                self.line(f"where    {escape(result.evidence.blame.sentence)}")
            for dim in result.evidence.dims if result.evidence else ():
                if dim.refused_by_model:
                    sizes, refused = (", ".join(map(str, s)) for s in (dim.sizes, dim.refused_by_model))
                    self.line(f"note     {dim.name} is right at {sizes}; the model itself refuses {refused}")
            for note in result.notes:
                self.line(f"note     {escape(note)}")
            if result.onnx_path and result.file is None:
                self.line(f"file     {result.onnx_path}" + ("" if result.verdict == "pass" else " (not proven)"))
            if result.release.model_uri and result.verdict == "pass":
                self.line(f'load     mlflow.pyfunc.load_model("{result.release.model_uri}").predict(...)')
            if result.release.page:
                self.line(f"browse   {ui_command()}{result.release.page}")
        if len(results) > 1:
            what = "files" if any(result.file for result in results) else "models"
            self.line(f"{len(results)} {what} in {time.perf_counter() - self._started:.1f} s", indent=0)

    def _exported(self, result: ExportResult) -> None:
        number = result.release.version if result.release else None
        said = f"{'unchanged, ' if result.unchanged else ''}{f'version {number}' if number else 'no version'}"
        self.line(f"{MARKS[result.verdict]}  [bold]{escape(result.name)}[/] {said}", indent=0)
        if result.parity:
            seconds = "" if result.unchanged else f", {sum(result.seconds.values()):.1f} s to export and prove"
            self.line(f"noise ratio {result.worst('noise_ratio'):.2f}, {_size(result)}{seconds}")

    def _verified(self, result: ExportResult) -> None:
        said = f" computes what {escape(result.name)} computes" if result.verdict == "pass" else ""
        self.line(f"{MARKS[result.verdict]}  [bold]{escape(str(result.file))}[/]{said}", indent=0)
        if result.parity:
            self.line(f"noise ratio {result.worst('noise_ratio'):.2f}, {_size(result)}")
        if result.verdict != "pass":
            self.line(f"reason   {escape(result.reason)}")

    def close(self) -> None:
        """Stop the spinner and let the logger go."""
        self._stop_status()
        logging.getLogger("assay").removeHandler(self)

    def _stop_status(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None


def _size(result: ExportResult) -> str:
    return decimal(result.graph.size_bytes if result.graph else 0)


def ui_command() -> str:
    """The command that starts MLflow's UI, for a sentence; empty where a tracking server has one."""
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if uri.startswith("http"):
        return ""
    if not uri or uri == f"sqlite:///{MLFLOW_DATABASE}":
        return f"(cd {PROJECT_FOLDER} && mlflow ui), then "
    return f"mlflow ui --backend-store-uri {uri if uri.startswith('sqlite') else '…'}, then "
