"""What the user of a sweep sees: a line a model, how much is left, where the table is."""

import time
from collections.abc import Mapping

from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, Task, TextColumn, TimeElapsedColumn

from flows.command_line.display import MARKS, Display, figures_of, ui_command
from tasks.core.records.steps import ExportResult
from tasks.core.reports.sweep_page import headline


class SweepDisplay(Display):
    """Shows the progress of a sweep and its results."""

    def __init__(self, *, to_stderr: bool) -> None:
        super().__init__(to_stderr=to_stderr)
        done, left = (TextColumn(f"{{task.fields[{name}]}}") for name in ("done", "left"))
        columns = (SpinnerColumn(), BarColumn(), done, TimeElapsedColumn(), left)
        self._progress = Progress(*columns, console=self._console, transient=True)
        self._costs: Mapping[str, float] = {}
        self._num_done = self._num_models = 0
        self._page = ""

    def progress(self, num_models: int) -> None:
        """Start the progress bar: models done, of this number, and the time that is left."""
        self._num_models = num_models
        self._progress.add_task("models", total=None, done=f"0/{num_models}", left="")
        if self._console.is_terminal:
            self._progress.start()

    def planned(self, costs: Mapping[str, float]) -> None:
        """Estimate the time that is left by what each model that is to be exported costs, by name, in any unit."""
        self._costs = costs
        self._progress.reset(self._progress.task_ids[0], total=sum(costs.values()))

    def swept(self, result: ExportResult) -> None:
        """Print a line about a model."""
        (bar,) = self._progress.tasks
        self._num_done += 1
        done, of = self._num_done, self._num_models
        self._progress.update(bar.id, advance=self._costs.get(result.name, 0.0), done=f"{done}/{of}")
        left = _time_left(bar)
        self._progress.update(bar.id, left=left)
        seconds = sum(result.seconds.values())
        facts = (
            figures_of(result),
            "unchanged" if result.unchanged else f"{seconds:.1f} s" if seconds else "",
            f"about {left}" if left and done < of else "",
        )
        self._console.print(
            f"[dim]{done:>4}/{of}[/] {MARKS[result.verdict]}  [bold]{escape(result.name)}[/]  "
            f"[dim]{', '.join(filter(None, facts))}[/]"
        )
        if result.complaint:
            self._console.print(f"          {escape(result.complaint)}")

    def browse(self, url: str) -> None:
        """Remember the page to name at the end."""
        self._page = url

    def summary(self, results: list[ExportResult]) -> None:
        """Print the number of models by verdict, and where the table is."""
        if not self._progress.tasks:
            return
        counted = headline(results, self._num_models)
        self.line("", indent=0)
        self.line(f"[bold]{counted}[/] in {time.perf_counter() - self._started:.1f} s", indent=0)
        if self._page:
            self.line(f"browse   {ui_command()}{self._page}")

    def _stop_status(self) -> None:
        self._progress.stop()
        super()._stop_status()


def _time_left(bar: Task) -> str:
    """Estimate by the cost of the models that are done; rich's own estimate goes by the last half minute, and jumps."""
    if not bar.completed or bar.total is None or bar.elapsed is None:
        return ""
    return f"{bar.elapsed * (bar.total - bar.completed) / bar.completed:.0f} s left"
