"""Somebody is told when an export fails, its verdict turns, or `champion` moves."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import mlflow
import pytest

from deployments import notify
from flows.export import ExportSpec, VerdictError, export_model
from tasks.core.paths import PROJECT_FOLDER
from tests.models.tiny_models import Zero
from tests.services.webhook import Webhook, serve_webhook

TINY = f"{PROJECT_FOLDER}/tests/models/tiny_models.py"
PIXELS = "image=float32[batch,3,8,8]"


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    """A webhook that nobody calls yet."""
    with serve_webhook() as hook:
        yield hook


@pytest.mark.usefixtures("prefect_server")
def test_the_webhook_is_told_what_is_new(
    webhook: Webhook, own_store: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first champion; nothing while nothing changes; a failure, and that it is one after a pass; the way back."""
    monkeypatch.setenv("ASSAY_WEBHOOK", webhook.address)
    digits = ExportSpec(model="digits", name="net")
    dead = ExportSpec(model=Zero(), name="net", inputs=(PIXELS,))

    export_model(digits)
    (moved,) = webhook.news
    assert moved["text"].startswith("net: champion moved to version 1.")
    assert (moved["version"], moved["url"]) == ("1", export_model(digits).release.version_url)
    assert webhook.take() == [("assay.champion.moved", "net", "pass")], "unchanged is no news"

    with pytest.raises(VerdictError):
        export_model(dead)
    failed, turned = webhook.news
    assert "exactly zero on every probe" in failed["reason"]
    assert failed["reason"] in failed["text"]
    assert "/runs/" in failed["url"]
    assert "the verdict turned from pass to inconclusive" in turned["text"]
    assert {verdict for _, _, verdict in webhook.take()} == {"inconclusive"}

    with pytest.raises(Exception, match="There is no weights file"):
        export_model(ExportSpec(model="digits", name="net", weights="nowhere.pth"))
    assert ("assay.export.failed", "net", "error") in webhook.take()

    export_model(digits)
    assert webhook.take() == [("assay.verdict.turned", "net", "pass")], "champion is where it was"
    assert own_store.get_registered_model("net").tags["assay.last_champion"] == "1"


@pytest.mark.usefixtures("prefect_server", "own_store")
@pytest.mark.parametrize("address", ["http://127.0.0.1:9/secret", "nonsense", ""])
def test_a_webhook_that_does_not_answer_costs_no_export(
    address: str, webhook: Webhook, assay_log: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a line in the log, without the address, which may be a secret."""
    webhook.status = 500
    monkeypatch.setenv("ASSAY_WEBHOOK", address or webhook.address)
    with pytest.raises(VerdictError):
        export_model(ExportSpec(model=Zero(), name="net", inputs=(PIXELS,)))
    (said,) = [record.getMessage() for record in assay_log if "ASSAY_WEBHOOK" in record.getMessage()]
    assert said.startswith("ASSAY_WEBHOOK did not take the news of net (")
    assert "secret" not in said


@pytest.mark.slow
@pytest.mark.usefixtures("own_store")
def test_an_automation_of_a_real_server_calls_the_webhook(
    webhook: Webhook, start_service: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Applied twice by its command, it fires once for a failed export, with model, verdict, reason and link."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.delenv("PREFECT_LOGGING_LEVEL")
    arguments = ("server", "start", "--host", "127.0.0.1", "--port", "{port}", "--no-ui")
    api = start_service("prefect", *arguments, ready="/api/health") + "/api"
    with temporary_settings({PREFECT_API_URL: api}):
        assert notify.main([webhook.address]) == notify.main([webhook.address]) == 0
    assert "assay-news, assay-crashes, assay-lost: applied" in capsys.readouterr().out

    monkeypatch.setenv("PREFECT_API_URL", api)
    command = ["flows/export.py", f"{TINY}:Zero", "--weights", "as-built", "--name", "net", "--input", PIXELS]
    ran = subprocess.run(
        [sys.executable, *command],
        cwd=PROJECT_FOLDER, capture_output=True, text=True,
    )  # fmt: skip
    assert ran.returncode == 1, ran.stderr
    assert "Flow run" not in ran.stdout + ran.stderr, "what Prefect logs is for its pages, not for the terminal"
    news = webhook.first(event="assay.export.failed")
    assert webhook.news == [news], "it fires once"
    assert (news["model"], news["verdict"]) == ("net", "inconclusive")
    assert "exactly zero" in news["reason"]
    assert "/runs/" in news["url"]
    (run,) = httpx.post(f"{api}/flow_runs/filter", json={}).json()
    assert run["name"] == "export-net"
    logs = httpx.post(f"{api}/logs/filter", json={"logs": {"flow_run_id": {"any_": [run["id"]]}}}).json()
    said = [log["message"] for log in logs]
    assert any(text.startswith("validate_onnx: inconclusive") for text in said)
    first_line = run["state"]["message"].splitlines()[0]
    assert "net is not proven (inconclusive): output is exactly zero" in first_line


@pytest.mark.parametrize(
    ("url", "api", "status", "said"),
    [("hooks.example", "http://127.0.0.1:9/api", 2, "write https://host/path"),
     ("https://hooks.example/x", "http://127.0.0.1:9/api", 3, "does not answer"),
     ("https://hooks.example/x", None, 3, "start one with")],
)  # fmt: skip
def test_what_can_not_be_applied_is_one_sentence(
    url: str, api: str | None, status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong address, no server, a dead one."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: api}):
        assert notify.main([url]) == status
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
