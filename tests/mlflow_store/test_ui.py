"""A reviewer's view: MLflow's pages in a real browser, from the folder layout that the project has.

`see` stands before `address`: where there is no browser, MLflow's UI need not start.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks.core.records.steps import ExportResult

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --window-size=1400,1400"
)


@pytest.fixture(scope="module")
def address(exported_digits: ExportResult, store: str, start_service: Callable[..., str]) -> str:
    """The address of `mlflow ui`, started where mlflow.db and mlruns lie."""
    folder = Path(store.removeprefix("sqlite:///")).parent
    env = {name: value for name, value in os.environ.items() if "MLFLOW" not in name}
    env["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    return start_service("mlflow", "ui", "--workers", "1", "--port", "{port}", ready="/health", cwd=folder, env=env)


@pytest.fixture(scope="module")
def see(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """A function that opens a page, waits until it shows the texts, takes a picture and gives all of its text."""
    if not (CHROMIUM and DRIVER):
        reason = "needs chromium and chromedriver (Debian: apt install chromium chromium-driver fonts-dejavu)"
        (pytest.fail if pytestconfig.getoption("--require-optional") else pytest.skip)(reason)
    from selenium import webdriver
    from selenium.common.exceptions import NoSuchFrameException, StaleElementReferenceException, TimeoutException
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.wait import WebDriverWait

    folder = tmp_path_factory.mktemp("browser")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS.split(), f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(flag)
    redrawn = (NoSuchFrameException, StaleElementReferenceException)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))

    def look(url: str, *texts: str, picture: str) -> str:
        browser.get(url)
        try:
            wait = WebDriverWait(browser, 60, ignored_exceptions=redrawn)
            wait.until(lambda _: all(text in page() for text in texts))
        except TimeoutException:
            missing = [text for text in texts if text not in page()]
            pytest.fail(f"{url} does not show {missing}, but:\n{page()}")
        finally:
            browser.save_screenshot(str(folder / picture))
        return page()

    def page() -> str:
        # the text of the page, and of the frames in which MLflow shows some previews
        browser.switch_to.default_content()
        texts = [browser.find_element(By.TAG_NAME, "body").text]
        for frame in browser.find_elements(By.TAG_NAME, "iframe"):
            browser.switch_to.frame(frame)
            texts.append(browser.find_element(By.TAG_NAME, "body").text)
            browser.switch_to.default_content()
        return "\n".join(texts)

    yield look
    browser.quit()


def test_the_version_page_answers_the_reviewer(
    see: Callable[..., str], address: str, exported_digits: ExportResult
) -> None:
    """The version's page shows verdict, names, dims, opset, weights and the file's hash."""
    page = see(
        f"{address}/#/models/digits/versions/{exported_digits.release.version}",
        "digits: ✔ pass",
        "image: float32[batch, 1, 8, 8]",
        "logits: float32[batch, 10]",
        "opset 20",
        "digits.pth",
        str(exported_digits.graph.sha256),
        picture="version.png",
    )
    assert str(exported_digits.weights_sha256)[:16] in page
    assert "champion" in page


def test_the_report_of_a_run_can_be_read(see: Callable[..., str], address: str, exported_digits: ExportResult) -> None:
    """The run's report.html is shown as a page, with the verdict, the plot's legend, the tables and the provenance."""
    page = see(
        f"{address}/#/experiments/1/runs/{exported_digits.release.run_id}/artifacts/report.html",
        "✔ pass",
        "explained by float32 rounding",
        "Provenance",
        picture="report.png",
    )
    assert "its largest error is" in page
    assert str(exported_digits.graph.sha256) in page
    assert "<td>" not in page


def test_the_run_page_is_found_from_the_link(
    see: Callable[..., str], address: str, exported_digits: ExportResult
) -> None:
    """The address of the run opens its page with the parity among its metrics."""
    see(
        f"{address}/#/experiments/1/runs/{exported_digits.release.run_id}",
        "logits/noise_ratio",
        "Finished",
        picture="run.png",
    )
    see(
        f"{address}/#/experiments/1/runs?workflowType=machine_learning",
        "onnx-exports",
        "digits",
        picture="experiment.png",
    )
