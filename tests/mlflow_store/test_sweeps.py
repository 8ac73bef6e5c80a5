"""The run of a sweep says how it ended, and is gone on with only where it did not come to its end."""

from pathlib import Path

import mlflow
import pytest

from tasks.core.records.steps import ExportResult
from tasks.core.spec.export_spec import ResolvedSpec
from tasks.mlflow_store.sweeps import logged_sweep

SPECS = tuple(ResolvedSpec(model=name, name=name, weights="random") for name in ("a", "b"))


def sweep(*verdicts: str, resume: bool = False) -> str:
    """Log a sweep that came to as many results; its run's id."""
    with logged_sweep(SPECS, resume=resume) as log:
        for spec, verdict in zip(SPECS, verdicts, strict=False):
            log.add(ExportResult.model_validate({"name": spec.title, "verdict": verdict, "reason": "so"}))
    return log.run_id


@pytest.mark.parametrize(
    ("verdicts", "status", "verdict", "mark"),
    [
        (("pass", "pass"), "FINISHED", "pass", "✔ "), (("pass", "fail"), "FAILED", "fail", "✘ "),
        (("inconclusive", "pass"), "FAILED", "inconclusive", "? "), (("error", "fail"), "FAILED", "error", "✘ "),
        (("pass",), "KILLED", None, ""),
    ],
)  # fmt: skip
def test_a_sweep_is_green_only_if_every_model_is(
    verdicts: tuple[str, ...], status: str, verdict: str | None, mark: str, own_store: mlflow.MlflowClient
) -> None:
    """Its status, its verdict and the mark in its name are the worst model's; one that was cut short has none."""
    run = own_store.get_run(sweep(*verdicts))
    assert (run.info.status, run.data.tags.get("assay.verdict")) == (status, verdict)
    assert run.info.run_name == f"{mark}sweep of 2 models"
    assert run.data.tags["assay.kind"] == "sweep"
    assert run.data.tags["mlflow.user"]


@pytest.mark.usefixtures("own_store")
def test_only_what_was_cut_short_is_gone_on_with() -> None:
    """A sweep that ended with a wrong file is over; one that was interrupted goes on in the same run."""
    ended = sweep("pass", "fail")
    cut_short = sweep("pass", resume=True)
    assert cut_short != ended
    assert sweep("pass", "pass", resume=True) == cut_short
    assert sweep("pass", "pass", resume=True) not in (ended, cut_short)


def test_the_description_leads_to_the_table(own_store: mlflow.MlflowClient) -> None:
    """And says the reason of each model that is not proven."""
    run_id = sweep("pass", "fail")
    note = own_store.get_run(run_id).data.tags["mlflow.note.content"]
    assert f"/runs/{run_id}/artifacts/comparison.html?workflowType=machine_learning" in note
    assert "* ✘ b: so" in note
    assert "2 models" in Path(own_store.download_artifacts(run_id, "comparison.html")).read_text()
