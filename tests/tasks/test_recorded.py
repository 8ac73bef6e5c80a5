"""One MLflow run an attempt, whatever ends it."""

import logging
import time
from pathlib import Path
from typing import Any

import mlflow
import pytest

import flows.export
from flows.export import ExportSpec, export_model
from flows.verify import verify_files
from tasks.core.errors import SpecError
from tasks.core.provenance.attempts import Attempt
from tasks.core.spec.resolve import resolve
from tasks.step import recorded, step
from tests.models.tiny_models import Classifier

INPUT = "image=float32[batch,3,8,8]"


def spec_of(name: str) -> ExportSpec:
    """A tiny model in memory."""
    return ExportSpec(model=Classifier().eval(), name=name, inputs=(INPUT,))


def runs_of(name: str) -> list[Any]:
    """What MLflow holds of the attempts under a name."""
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("onnx-exports")
    return list(client.search_runs([experiment.experiment_id], f"tags.`assay.name` = '{name}'"))


@pytest.mark.usefixtures("store", "prefect_server")
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KeyboardInterrupt(), "was interrupted"),
        (MemoryError(), "found too little memory"),
        (ZeroDivisionError("a defect of Assay itself"), "met a defect, ZeroDivisionError: a defect of Assay itself"),
        (SystemExit(0), "met a defect, SystemExit"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_what_ends_an_attempt_is_recorded(error: BaseException, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is exactly one run, a failed one, that says what happened and holds what was known by then."""

    def end(*_: Any, **__: Any) -> Any:
        raise error

    name = f"ended-by-{type(error).__name__}"
    monkeypatch.setattr(flows.export, "validate_onnx", end)
    with pytest.raises(type(error)):
        export_model(spec_of(name))
    (run,) = runs_of(name)
    status = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"
    assert (run.info.status, run.data.tags["assay.verdict"]) == (status, "error")
    assert said in run.data.tags["assay.error"]
    assert run.data.tags["assay.onnx_sha256"]


@pytest.mark.usefixtures("store", "prefect_server")
def test_a_step_that_takes_too_long_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A time limit of Prefect's ends the step, and the run says so."""

    @step(seconds=0.5, says=str)
    def create_inputs(*_: Any) -> Any:
        for _ in range(3000):  # a thread is interrupted between two calls, not in one
            time.sleep(0.01)

    monkeypatch.setattr(flows.export, "create_inputs", create_inputs)
    with pytest.raises(TimeoutError):
        export_model(spec_of("too-long"))
    (run,) = runs_of("too-long")
    assert (run.info.status, run.data.tags["assay.verdict"]) == ("FAILED", "error")
    assert "took longer than its step may take" in run.data.tags["assay.error"]


@pytest.mark.usefixtures("store", "prefect_server")
def test_a_file_that_can_not_be_verified_is_recorded(tmp_path: Path) -> None:
    """Verifying what is no ONNX file leaves a failed run that names the file."""
    (tmp_path / "no.onnx").write_bytes(b"no graph")
    (result,) = verify_files(spec_of("no-file"), [tmp_path / "no.onnx"])
    assert (result.verdict, result.file) == ("error", str(tmp_path / "no.onnx"))
    (run,) = runs_of("no-file")
    assert run.info.run_id == result.release.run_id
    assert (run.info.status, run.data.tags["assay.verified_file"]) == ("FAILED", "no.onnx")


def test_where_even_logging_fails_the_user_is_told(
    monkeypatch: pytest.MonkeyPatch, assay_log: list[logging.LogRecord]
) -> None:
    """The first error is raised, and a warning says that it could not be recorded."""
    uri = mlflow.get_tracking_uri()
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")

    def lose_the_server() -> None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        mlflow.set_tracking_uri("http://127.0.0.1:9")
        raise SpecError("the first")

    try:
        with pytest.raises(SpecError, match="the first"), recorded(Attempt(resolve(spec_of("untold")))):
            lose_the_server()
    finally:
        mlflow.set_tracking_uri(uri)
    (record,) = [record for record in assay_log if record.levelno == logging.WARNING]
    assert "untold could not be recorded in MLflow" in record.getMessage()
