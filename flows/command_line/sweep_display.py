"""What the user of a sweep sees: a line a model, how much is left, where the table is."""

import time
from collections.abc import Mapping

from rich.filesize import decimal
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, Task, TextColumn, TimeElapsedColumn

from flows.command_line.display import MARKS, Display, ui_command
from tasks.core.records.steps import ExportResult
from tasks.core.reports.sweep_page import headline


class SweepDisplay(Display):
    """Shows the progress of a sweep and its results."""

    def __init__(self, *, to_stderr: bool) -> None:
        super().__init__(to_stderr=to_stderr)
        columns = (
            SpinnerColumn(), BarColumn(), TextColumn("{task.fields[num_done]}/{task.fields[num_models]}"),
            TimeElapsedColumn(), TextColumn("{task.fields[left]}"),
        )  # fmt: skip
        self._progress = Progress(*columns, console=self._console, transient=True)
        self._costs: Mapping[str, float] = {}
        self._page = ""

    def progress(self, num_models: int) -> None:
        """Start the progress bar: models done, of this number, and the time that is left."""
        self._progress.add_task("models", total=None, num_done=0, num_models=num_models, left="")
        if self._console.is_terminal:
            self._progress.start()

    def planned(self, costs: Mapping[str, float]) -> None:
        """Estimate the time that is left by what each model that is to be exported costs, by name, in any unit."""
        self._costs = costs
        self._progress.reset(self._progress.task_ids[0], total=sum(costs.values()))

    def swept(self, result: ExportResult) -> None:
        """Print a line about a model."""
        (bar,) = self._progress.tasks
        num_done, num_models = bar.fields["num_done"] + 1, bar.fields["num_models"]
        self._progress.update(bar.id, advance=self._costs.get(result.name, 0.0), num_done=num_done)
        left = _seconds_left(bar)
        self._progress.update(bar.id, left="" if left is None else f"{left:.0f} s left")
        ratio, seconds = result.worst("noise_ratio"), sum(result.seconds.values())
        facts = (
            []
            if ratio is None
            else [f"noise ratio {ratio:.2f}", decimal(result.graph.size_bytes if result.graph else 0)]
        )
        facts += ["unchanged"] if result.unchanged else [f"{seconds:.1f} s"] if seconds else []
        facts += [f"about {bar.fields['left']}"] if bar.fields["left"] and num_done < num_models else []
        self._console.print(
            f"[dim]{num_done:>4}/{num_models}[/] {MARKS[result.verdict]}  [bold]{escape(result.name)}[/]  "
            f"[dim]{', '.join(facts)}[/]"
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
        num_models = self._progress.tasks[0].fields["num_models"]
        self.line("", indent=0)
        self.line(f"[bold]{headline(results, num_models)}[/] in {time.perf_counter() - self._started:.1f} s", indent=0)
        if self._page:
            self.line(f"browse   {ui_command()}{self._page}")

    def _stop_status(self) -> None:
        self._progress.stop()
        super()._stop_status()


def _seconds_left(bar: Task) -> float | None:
    """Estimate by the cost of the models that are done; rich's own estimate goes by the last half minute, and jumps."""
    if not bar.completed or bar.total is None or bar.elapsed is None:
        return None
    return bar.elapsed * (bar.total - bar.completed) / bar.completed
