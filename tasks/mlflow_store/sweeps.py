"""What MLflow holds of a sweep: a run above the runs of its models, each result as it comes, one table of all."""

import contextlib
import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

import mlflow
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException

from tasks.core.errors import AssayError
from tasks.core.records.steps import ExportResult, Verdict
from tasks.core.reports.sweep_page import describe_sweep, html_page, table_rows
from tasks.core.reports.wording import VERDICT_MARKS
from tasks.core.runtime.owners import owner
from tasks.core.runtime.work_folders import work_folder
from tasks.core.spec.export_spec import ResolvedSpec
from tasks.mlflow_store.entries import KIND, NOTE, VERDICT
from tasks.mlflow_store.pages import run_page, runs_page
from tasks.mlflow_store.runs import made_by
from tasks.mlflow_store.stale import OWNER, beating
from tasks.mlflow_store.store import connect, experiment_id_of, run_url_of, service_errors

TABLE_FILE = "comparison.json"
PAGE_FILE = "comparison.html"
_WORST_FIRST = ("error", "fail", "inconclusive", "pass")
_RESULTS = "results"
_KEY = "assay.sweep"


@dataclass
class Sweep:
    """A sweep under way, and its run in MLflow."""

    specs: Sequence[ResolvedSpec]
    run_id: str
    run_url: str
    past: dict[str, ExportResult] = field(default_factory=dict)
    """Results of the sweep that this one goes on with, by name."""
    results: dict[str, ExportResult] = field(default_factory=dict)

    def add(self, result: ExportResult) -> None:
        """Keep a result, here and in MLflow: an interruption leaves what is finished."""
        self.results[result.name] = result
        with service_errors():
            connect().log_text(self.run_id, result.model_dump_json(indent=1), f"{_RESULTS}/{result.name}.json")


@contextlib.contextmanager
def logged_sweep(specs: Sequence[ResolvedSpec], *, resume: bool) -> Iterator[Sweep]:
    """Within this context a run of MLflow stands for the sweep; at the end it gets the table.

    Args:
        specs: all that the sweep is to export.
        resume: go on with the latest sweep of the same specs that did not come to its end.
    """
    with service_errors():
        sweep = _opened(specs, resume=resume)
    status = "KILLED"
    try:
        with beating(connect(), sweep.run_id):
            yield sweep
    except AssayError:
        status = "FAILED"
        raise
    finally:
        with service_errors():
            _close(sweep, status)


def _opened(specs: Sequence[ResolvedSpec], *, resume: bool) -> Sweep:
    client = connect()
    experiment_id = experiment_id_of(client)
    texts = json.dumps(sorted(spec.canonical_json() for spec in specs))  # equal for equal specs, in any order
    key = hashlib.sha256(texts.encode()).hexdigest()[:16]
    if resume:
        same = client.search_runs([experiment_id], f"tags.`{_KEY}` = '{key}' and attributes.status != 'FINISHED'")
        if run := next((run for run in same if VERDICT not in run.data.tags), None):
            run_id = run.info.run_id
            client.set_tag(run_id, OWNER, owner())
            client.update_run(run_id, status="RUNNING")
            return Sweep(specs, run_id, run_url_of(run), past=_past_results(run_id))
    tags = {_KEY: key, KIND: "sweep", OWNER: owner(), **made_by()}
    run = client.create_run(experiment_id, start_time=int(time.time() * 1000), run_name=_name(specs), tags=tags)
    return Sweep(specs, run.info.run_id, run_url_of(run))


def _close(sweep: Sweep, status: str) -> None:
    client, now, num_models = connect(), int(time.time() * 1000), len(sweep.specs)
    results = list(sweep.results.values())
    if rows := table_rows(results):
        client.log_table(sweep.run_id, {column: [row[column] for row in rows] for column in rows[0]}, TABLE_FILE)
    client.log_text(sweep.run_id, html_page(results, num_models), PAGE_FILE)
    experiment_id = client.get_run(sweep.run_id).info.experiment_id
    table = run_page(experiment_id, sweep.run_id, f"artifacts/{PAGE_FILE}")
    links = (("Table with a filter", table), ("All runs", runs_page(experiment_id)))
    client.set_tag(sweep.run_id, NOTE, describe_sweep(results, num_models, links))
    counts = {f"num_{verdict}": sum(r.verdict == verdict for r in results) for verdict in get_args(Verdict)}
    metrics = [Metric(key, float(count), now, 0) for key, count in {**counts, "num_models": num_models}.items()]
    client.log_batch(sweep.run_id, metrics=metrics)
    if len(results) == num_models:
        verdict = min((result.verdict for result in results), key=_WORST_FIRST.index)
        status = "FINISHED" if verdict == "pass" else "FAILED"
        client.set_tag(sweep.run_id, VERDICT, verdict)
        client.update_run(sweep.run_id, name=f"{VERDICT_MARKS[verdict][0]} {_name(sweep.specs)}")
    client.set_terminated(sweep.run_id, status)


def _name(specs: Sequence[ResolvedSpec]) -> str:
    return f"sweep of {len(specs)} models"


def _past_results(run_id: str) -> dict[str, ExportResult]:
    """Results that an earlier part of the sweep left; none where it left none."""
    with work_folder() as folder, contextlib.suppress(MlflowException, OSError):
        found = Path(mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path=_RESULTS, dst_path=str(folder)))
        results = [ExportResult.model_validate_json(path.read_text()) for path in sorted(found.glob("*.json"))]
        return {result.name: result for result in results}
    return {}
