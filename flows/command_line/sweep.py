"""The command line of flows/sweep.py: options in, a line a model, a table in MLflow, exit status."""

import argparse
import fnmatch
import gc
import time
from collections.abc import Mapping

from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, Task, TextColumn, TimeElapsedColumn

from flows.command_line.display import MARKS, Display, figures_of, ui_command
from flows.command_line.options import make_specs
from flows.command_line.parsers import sweep_parser
from flows.command_line.run import run_command
from flows.outcomes import failed
from flows.processes.dask_address import host_seen_from
from flows.processes.temporary_server import TemporaryServer
from tasks.core.errors import AssayError, ExportError, SpecError
from tasks.core.families.registry import FAMILIES
from tasks.core.families.torchvision import TorchvisionFamily
from tasks.core.records.steps import ExportResult
from tasks.core.reports.sweep_page import headline
from tasks.core.spec.catalog import read_catalog
from tasks.core.spec.export_spec import ResolvedSpec
from tasks.core.spec.resolve import check_files


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
        self.line("")
        self.line(f"[bold]{counted}[/] in {time.perf_counter() - self._started:.1f} s")
        if self._page:
            self.line(f"  browse   {ui_command()}{self._page}")

    def _stop_status(self) -> None:
        if self._progress.live.is_started:  # else it prints an empty line
            self._progress.stop()
        super()._stop_status()


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    return run_command(sweep_parser(), _run, arguments, display_class=SweepDisplay)


def _run(options: argparse.Namespace, results: list[ExportResult], display: SweepDisplay) -> None:
    specs = _specs(options)
    server = TemporaryServer(host_seen_from(options.dask))
    server.start()  # on the second core, while this process imports and looks
    display.progress(len(specs))
    from flows.sweep import SweepOptions, sweep

    gc.freeze()
    gc.enable()

    def tell(result: ExportResult) -> None:
        results.append(result)  # at once: an interruption leaves what is finished
        display.swept(result)

    how = SweepOptions(**{name: getattr(options, name) for name in SweepOptions.model_fields})
    order = {spec.title: place for place, spec in enumerate(specs)}
    try:
        sweep(specs, how, tell=tell, ready=server.ready(), opened=display.browse, planned=display.planned)
    except (AssayError, KeyboardInterrupt) as error:
        reason = error if isinstance(error, AssayError) else ExportError("not reached, as the sweep was interrupted")
        reached = {result.name for result in results}
        results += [failed(title, reason) for title in order if title not in reached]
        if isinstance(error, KeyboardInterrupt):
            raise
        display.error(str(error))
    finally:
        results.sort(key=lambda result: order[result.name])


def _specs(options: argparse.Namespace) -> list[ResolvedSpec]:
    """The specs that were chosen; a SpecError if one of the models that the user names does not exist."""
    specs = []
    if options.models:
        specs += make_specs(options)
        for spec in specs:
            check_files(spec)
    elif ":" in options.select:
        options.models = _listed(options.select)
        specs += make_specs(options, use_catalog=False)
    elif not options.all_torchvision:
        options.models = list(read_catalog())
        specs += make_specs(options)
    if options.all_torchvision:
        options.models = fnmatch.filter(TorchvisionFamily().names(), options.select)
        # the catalog's entries of these names may differ from what torchvision has
        specs += make_specs(options, use_catalog=False) if options.models else []
    chosen = [spec for spec in specs if any(fnmatch.fnmatchcase(text, options.select) for text in _texts(spec))]
    if not chosen:
        names = [*TorchvisionFamily().names()] if options.all_torchvision else []
        names += [spec.title for spec in specs]
        raise SpecError(f"--select {options.select!r} fits none of the {len(names)} models ({', '.join(names[:8])}…).")
    return chosen


def _listed(glob: str) -> list[str]:
    """MODEL texts that fit a pattern like `timm:*tiny*`; those with the tag of weights only if it has a dot."""
    names = [name for family in FAMILIES for name in family.names() if ":" in name]
    fitting = [name for name in fnmatch.filter(names, glob) if ("." in name) == ("." in glob)]
    if not fitting:
        raise SpecError(
            f"--select {glob!r} fits none of the {len(names)} models that can be listed, e.g. timm:resnet18."
        )
    return fitting


def _texts(spec: ResolvedSpec) -> tuple[str, ...]:
    """What a pattern may fit: the name, and the MODEL text."""
    return spec.title, spec.model


def _time_left(bar: Task) -> str:
    """Estimate by the cost of the models that are done; rich's own estimate goes by the last half minute, and jumps."""
    if not bar.completed or bar.total is None or bar.elapsed is None:
        return ""
    return f"{bar.elapsed * (bar.total - bar.completed) / bar.completed:.0f} s left"
