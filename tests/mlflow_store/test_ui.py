"""A reviewer's view: MLflow's pages in a real browser, from the folder layout that the project has.

`browser` stands before `address`: where there is no browser, MLflow's UI need not start.
"""

import getpass
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import mlflow
import pytest

from flows.export import ExportSpec, export_model
from tasks.core.errors import ExportError
from tasks.core.provenance.attempts import Attempt
from tasks.core.records.steps import ExportResult
from tasks.core.spec.export_spec import ResolvedSpec
from tasks.mlflow_store.runs import log_failure, open_run
from tasks.mlflow_store.sweeps import logged_sweep
from tests.core.reports.report_records import FAIL, make_attempt, make_manifest
from tests.services.browser import Browser

CLASSIC = "workflowType=machine_learning"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def address(exported_digits: ExportResult, store: str, start_service: Callable[..., str]) -> str:
    """The address of `mlflow ui`, started where mlflow.db and mlruns lie."""
    folder = Path(store.removeprefix("sqlite:///")).parent
    env = {name: value for name, value in os.environ.items() if "MLFLOW" not in name}
    env["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    return start_service("mlflow", "ui", "--workers", "1", "--port", "{port}", ready="/health", cwd=folder, env=env)


def logged(attempt: Attempt) -> str:
    """The run of an attempt that ended in a verdict."""
    with open_run(attempt) as run:
        run.log_metrics()
        run.log_files()
    return run.release.run_id


def test_the_version_page_answers_the_reviewer(browser: Browser, address: str, exported_digits: ExportResult) -> None:
    """Verdict, why, maker, names, dims, opset, weights, hash, how to load it; its links lead to report and runs."""
    url = f"{address}/#/models/digits/versions/{exported_digits.release.version}?{CLASSIC}"
    page = browser.see(
        url, "digits v1: ✔ pass", "its largest error is", "it is the first one", f"made by {getpass.getuser()} on",
        "image: float32[batch, 1, 8, 8]", "logits: float32[batch, 10]", "opset 20", "digits.pth",
        str(exported_digits.graph.sha256), 'mlflow.pyfunc.load_model("models:/digits/1")', "Ort::Session session",
        "ort.InferenceSession.create", picture="version.png",
    )  # fmt: skip
    assert str(exported_digits.weights_sha256)[:16] in page
    assert "champion" in page
    browser.click("Report", "explained by float32 rounding", picture="report-of-version.png")
    browser.see(url, "All runs", picture="version.png")
    browser.click("All runs", "assay.verdict", "✔ digits v1", picture="runs-of-version.png")


def test_the_report_of_a_run_can_be_read(browser: Browser, address: str, exported_digits: ExportResult) -> None:
    """The run's report.html is shown as a page, with the verdict, the plot's legend, the tables and the provenance."""
    page = browser.see(
        f"{address}/#/experiments/1/runs/{exported_digits.release.run_id}/artifacts/report.html",
        "✔ pass", "explained by float32 rounding", "Provenance", picture="report.png",
    )  # fmt: skip
    assert "its largest error is" in page
    assert str(exported_digits.graph.sha256) in page
    assert "<td>" not in page


def test_the_run_page_is_found_from_the_link(browser: Browser, address: str, exported_digits: ExportResult) -> None:
    """Its name tells the verdict and the version, and its metrics begin with the noise ratio."""
    page = browser.see(
        f"{address}/#/experiments/1/runs/{exported_digits.release.run_id}?{CLASSIC}",
        "✔ digits v1", "logits/noise_ratio", "Finished", getpass.getuser(), picture="run.png",
    )  # fmt: skip
    assert page.index("\nnoise_ratio") < page.index("seconds/fetch_weights")


def test_the_list_of_runs_tells_the_verdict(browser: Browser, address: str) -> None:
    """From the first page in two clicks: a wrong file is red, has its mark and its columns."""
    logged(make_attempt(FAIL, file="theirs.onnx"))
    browser.see(f"{address}/#/?{CLASSIC}", "onnx-exports", picture="home.png")
    browser.click("onnx-exports", "Verdicts of all runs", picture="experiment.png")
    page = browser.click("Verdicts of all runs", "✘ digits · theirs.onnx", "✔ digits v1", picture="runs.png")
    for column in ("assay.verdict", "assay.kind", "noise_ratio", "size_bytes"):
        assert column in page


def test_markdown_eats_no_name(browser: Browser, address: str) -> None:
    """What looks like a tag in an error is shown."""
    error = ExportError("No decomposition for <OpOverload(op='aten.sym_size')> in *forward* of `net`.")
    log_failure(make_attempt(FAIL), error)
    browser.see(
        f"{address}/#/experiments/1/runs/{error.run_id}?{CLASSIC}", str(error), "✘ not exported", "Failed",
        picture="error.png",
    )  # fmt: skip


def test_compare_shows_other_weights(browser: Browser, address: str) -> None:
    """Two exports that differ in their weights alone do not look identical."""
    runs = [logged(make_attempt(FAIL, manifest=make_manifest(weights=digit * 64))) for digit in "34"]
    names = ", ".join(f'"{run}"' for run in runs)
    page = browser.see(
        f'{address}/#/compare-runs?runs=[{names}]&experiments=["1"]&{CLASSIC}', "weights_sha256", "3" * 64, "4" * 64,
        picture="compare.png",
    )  # fmt: skip
    assert "Parameters are identical" not in page


def test_the_model_leads_to_its_champion_and_its_trend(
    browser: Browser, address: str, exported_digits: ExportResult
) -> None:
    """The registered model's page links both; the trend is drawn over the versions."""
    url = f"{address}/#/models/digits?{CLASSIC}"
    browser.see(url, "ONNX files proven by Assay", picture="model.png")
    browser.click("Champion: version 1", "digits v1: ✔ pass", picture="champion.png")
    browser.see(url, "Trend over the versions", picture="model.png")
    browser.click("Trend over the versions", "digits: all versions", "noise_ratio", "Step", picture="trend.png")


def test_the_logged_model_is_registered(browser: Browser, address: str, exported_digits: ExportResult) -> None:
    """Its page names the version, and has the file among its artifacts."""
    run = mlflow.MlflowClient().get_run(str(exported_digits.release.run_id))
    url = f"{address}/#/experiments/1/models/{run.outputs.model_outputs[0].model_id}"
    page = browser.see(f"{url}?{CLASSIC}", "Model versions", "✔ pass", "v1", picture="logged-model.png")
    assert "Not registered" not in page
    browser.see(f"{url}/artifacts?{CLASSIC}", "model.onnx", picture="file.png")


def test_a_sweep_leads_to_its_table_and_to_what_is_not_proven(
    browser: Browser, address: str, exported_digits: ExportResult
) -> None:
    """Its run says which models are not proven, with the reason; its table has all of them."""
    specs = tuple(ResolvedSpec(model=name, name=name, weights="random") for name in ("digits", "resnet18"))
    with logged_sweep(specs, resume=False) as log:
        log.add(exported_digits)
        log.add(ExportResult.model_validate({"name": "resnet18", "verdict": "fail", "reason": "logits is off"}))
    url = f"{address}/#/experiments/1/runs/{log.run_id}"
    browser.see(f"{url}?{CLASSIC}", "✘ sweep of 2 models", "resnet18: logits is off", picture="sweep.png")
    browser.see(f"{url}/artifacts/comparison.html", "2 models", "resnet18", "digits", picture="comparison.png")


@pytest.fixture(scope="module")
def second_version(exported_digits: ExportResult) -> str:
    """Another version of `digits`, and after it a wrong file; gives the first's number."""
    release = export_model(ExportSpec(model="digits", opset=19)).release
    logged(make_attempt(FAIL, file="theirs.onnx"))
    assert release is not None
    return str(release.version)


def test_ten_questions_are_answered_within_two_clicks(browser: Browser, second_version: str, address: str) -> None:
    """From the first page of `mlflow ui`: of the newest version, and of a file that failed."""
    right, wrong = f"✔ digits v{second_version}", "✘ digits · theirs.onnx"
    answers = {
        ("is it right?", right): "The file computes what the PyTorch model computes",
        ("which weights?", right): "weights digits.pth, tensors ",
        ("who made it, when?", right): f"made by {getpass.getuser()} on {datetime.now(UTC):%Y-}",
        ("what changed?", right): "spec.opset: 20 became 19",
        ("can I load it, how?", right): f'mlflow.pyfunc.load_model("models:/digits/{second_version}").predict(feeds)',
        ("what are its inputs?", right): "image: float32[batch, 1, 8, 8]",
        ("how fast?", right): " ms by ONNX Runtime, ",
        ("how big?", right): " nodes, 88.",
        ("why did that one fail?", wrong): "logits is off by 5.43e+04 times the noise of float32",
        ("where did it go wrong?", wrong): "Where: The weights of features.3 differ from the model's.",
    }
    for number, link in enumerate((right, wrong)):
        browser.see(f"{address}/", "onnx-exports", picture="first.png")
        browser.click("onnx-exports", right, wrong, picture="overview.png")
        texts = [text for (_, where), text in answers.items() if where == link]
        browser.click(link, *texts, picture=f"answers-{number}.png")
        assert browser.clicks == 2
    assert len(answers) == 10


def test_pages_can_be_read_in_the_dark(browser: Browser, address: str, exported_digits: ExportResult) -> None:
    """The same words; what they look like is for the pictures. The last test, for pages stay dark."""
    browser.darken()
    run = f"{address}/#/experiments/1/runs/{exported_digits.release.run_id}"
    version = f"{address}/#/models/digits/versions/1?{CLASSIC}"
    browser.see(version, "digits v1: ✔ pass", picture="dark-version.png")
    browser.see(f"{run}/artifacts/report.html", "explained by float32 rounding", picture="dark-report.png")
    browser.see(f"{run}?{CLASSIC}", "logits/noise_ratio", picture="dark-run.png")
    runs = f"{address}/#/experiments/1/runs?viewStateShareKey=assay&{CLASSIC}"
    browser.see(runs, "✔ digits", picture="dark-runs.png")
    browser.see(f"{address}/#/models/digits?{CLASSIC}", "ONNX files proven by Assay", picture="dark-model.png")
