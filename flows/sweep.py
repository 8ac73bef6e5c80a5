"""Export many models side by side, on this machine or on many: the flow, and its command line.

python flows/sweep.py [MODEL...] [options]
"""

if __name__ == "__main__":  # before the imports below: the command line imports them when it needs them
    import signal
    import sys
    from pathlib import Path

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until the command listens, there is nothing to clean up
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder: a user may have an `export`, too
    from flows.command_line.start import run

    raise SystemExit(run("sweep"))

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import as_completed
from prefect.task_runners import TaskRunner

from flows.outcomes import ended
from flows.processes.dask_address import is_this_machine
from flows.processes.export_here import CHECK_SECONDS, check_apart, services
from flows.processes.stale_flow_runs import claim
from flows.processes.sweep_workers import Terms, dask_workers, export_warm, local_workers, software
from flows.sweep_artifacts import shown
from tasks.core.errors import AssayError, CrashError, SpecError, SweepError, one_line
from tasks.core.records.record import Record
from tasks.core.records.steps import ExportResult
from tasks.core.spec.catalog import read_catalog
from tasks.core.spec.export_spec import ExportSpec, ResolvedSpec
from tasks.core.spec.resolve import make_spec, resolve
from tasks.deliver_file import deliver_file
from tasks.find_unchanged import find_unchanged
from tasks.mlflow_store.proven import find_proven
from tasks.mlflow_store.stale import clean_up
from tasks.mlflow_store.sweeps import Sweep, logged_sweep

__all__ = ["ExportSpec", "SweepError", "SweepOptions", "sweep", "sweep_models"]

OVERHEAD_GFLOP = 15.0
"""Cost of a model besides its arithmetic, fitted to the seconds in docs/coverage.md."""
Tell = Callable[[ExportResult], None]


class SweepOptions(Record):
    """Where and how a sweep runs."""

    workers: int | None = None
    """Number of processes on this machine; None: as many as cores and memory allow."""
    dask: str | None = None
    """Address of a Dask scheduler, `local` for a cluster on this machine, None for no Dask."""
    resume: bool = False
    """Continue the latest unfinished sweep of the same specs."""
    force: bool = False
    """Export even where nothing changed."""
    check: bool = False
    """Before a model counts as unchanged, hash its stored file, though that was done today."""
    timeout_seconds: float = 3600.0
    """Time limit per model."""


DEFAULT_OPTIONS = SweepOptions()


@flow(name="sweep-models", persist_result=False, on_running=[claim])
def sweep_models(specs: list[ExportSpec] | None = None, options: SweepOptions = DEFAULT_OPTIONS) -> list[ExportResult]:
    """Export many models side by side; models that did not change are not exported again.

    Args:
        specs: e.g. `[{"model": "digits"}, ...]`; None: every entry of the catalog.
        options: where and how it runs.

    Returns:
        One result per model, in the order of the specs.

    Raises:
        SweepError: not every model is proven; it holds the results.
        SpecError: a spec can't be read, two have one name, or the workers can't write to the store.
        ServiceError: MLflow or the scheduler could not be reached.
    """
    chosen = specs or [make_spec(model=name) for name in read_catalog()]
    results = sweep([resolve(spec) for spec in chosen], options)
    if lacking := [result for result in results if result.complaint]:
        said = "; ".join(f"{result.name}: {result.complaint}" for result in lacking[:5])
        more = f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
        raise SweepError(f"{len(lacking)} of {len(results)} models are not proven: {said}{more}", results)
    return results


def sweep(
    specs: Sequence[ResolvedSpec],
    options: SweepOptions,
    *,
    tell: Tell = lambda _: None,
    opened: Callable[[str], None] = lambda _: None,
    planned: Callable[[Mapping[str, float]], None] = lambda _: None,
    ready: AbstractContextManager[None] | None = None,
) -> list[ExportResult]:
    """Export resolved specs as `sweep_models` does, without judging; where nothing changed no flow runs.

    Args:
        specs: each with a name of its own.
        options: where and how it runs.
        tell: called with each result as it comes.
        opened: called with the address of the sweep's page in MLflow.
        planned: called with the estimated cost in GFLOP of each model that is to be exported, by name.
        ready: entered before the first flow runs, left after the last.
    """
    titles = [spec.title for spec in specs]
    if twice := sorted({title for title in titles if titles.count(title) > 1}):
        raise SpecError(f"Two models are called {twice[0]}; give one of them another name, or leave it out.")
    _check_store(options)
    clean_up()
    with logged_sweep(specs, resume=options.resume) as log:
        opened(log.run_url)

        def add(result: ExportResult) -> None:
            log.add(result)
            tell(result)

        rest = []
        for spec in specs:
            known = None if options.force else _unchanged(spec, log, check=options.check)
            if known is None:
                rest.append(spec)
            else:
                add(known)
        if rest:
            with ready or contextlib.nullcontext():
                _export(rest, options, run_id=log.run_id, add=add, planned=planned)
    return [log.results[title] for title in titles]


def _unchanged(spec: ResolvedSpec, log: Sweep, *, check: bool) -> ExportResult | None:
    """Find the proven export, with this sweep's own figures if an earlier part of it made it."""
    known = find_unchanged(spec, find_proven(spec.title, check=check))
    if known is None:
        return None
    past = log.past.get(spec.title)
    versions = {result.release and result.release.version for result in (known, past) if result}
    return past if past and past.verdict == "pass" and len(versions) == 1 else deliver_file(known)


def _export(
    specs: Sequence[ResolvedSpec],
    options: SweepOptions,
    *,
    run_id: str,
    add: Tell,
    planned: Callable[[Mapping[str, float]], None],
) -> None:
    """Check all specs, then export the sound ones, costliest first so that no worker is left with one at the end."""
    terms = Terms(
        force=options.force, timeout_seconds=options.timeout_seconds, parent_run_id=run_id, environment=services(),
        software=software(),
    )  # fmt: skip
    place = dask_workers(options.dask, options.workers) if options.dask else local_workers(options.workers)
    with place as (runner, processes):
        costs = check_apart(specs, processes, min(CHECK_SECONDS, options.timeout_seconds))
        sound: list[tuple[float, ResolvedSpec]] = []
        for spec, cost in zip(specs, costs, strict=True):
            if isinstance(cost, AssayError):
                add(ended(spec, cost, parent_run_id=run_id))
            else:
                sound.append((cost, spec))
        planned({spec.title: OVERHEAD_GFLOP + cost for cost, spec in sound})
        ordered = [spec for _, spec in sorted(sound, key=lambda pair: -pair[0])]
        token = _job.set(lambda: _export_all(ordered, terms, runner, add=add, stop=processes.close))
        try:
            export_side_by_side(len(ordered))
        finally:
            _job.reset(token)


_job: ContextVar[Callable[[], None]] = ContextVar("job")
"""What `export_side_by_side` does, kept out of its parameters: Prefect sends those along with each task."""


@flow(name="sweep", persist_result=False, on_running=[claim])
def export_side_by_side(num_models: int) -> str:
    """Export the specs of the current job side by side, reporting each result as it comes."""
    _work_off()
    return f"{num_models} models exported"


def _work_off() -> None:
    """Run the job; not in the flow itself, which is pickled with all that its code names."""
    _job.get()()


def _export_all(
    specs: Sequence[ResolvedSpec], terms: Terms, runner: TaskRunner[Any], *, add: Tell, stop: Callable[[], None]
) -> None:
    """Export on the workers of a runner; where anything goes wrong here, stop what is running there."""
    with runner, shown(add, len(specs)) as add_and_show:
        exports = {runner.submit(_export_one, {"spec": spec, "terms": terms}): spec for spec in specs}
        try:
            for future in as_completed(list(exports)):
                add_and_show(_result_of(future, exports[future], terms.parent_run_id))
        except BaseException:
            stop()
            raise


@task(name="export_one", task_run_name="export-{spec.title}", cache_policy=NO_CACHE, persist_result=False)
def _export_one(spec: ResolvedSpec, terms: Terms) -> ExportResult:
    """Export one model on the machine that runs this task."""
    return export_warm(spec, terms)


def _result_of(future: Any, spec: ResolvedSpec, run_id: str) -> ExportResult:
    try:
        result: ExportResult = future.result()
    except AssayError as error:
        return ended(spec, error, parent_run_id=run_id)
    except Exception as error:  # what Dask and Prefect raise for a lost worker has no base in common
        lost = CrashError(f"{spec.title}: the worker that exported it was lost ({one_line(error)}).")
        return ended(spec, lost, parent_run_id=run_id)
    return result


def _check_store(options: SweepOptions) -> None:
    """Check that workers on other machines can write to the store that this one reads."""
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if options.dask and not is_this_machine(options.dask) and (not uri or uri.startswith(("sqlite:", "file:"))):
        raise SpecError(
            f"Workers of {options.dask} can't write to an MLflow store on this machine's disk; "
            f"set MLFLOW_TRACKING_URI to a tracking server (http://…)."
        )
