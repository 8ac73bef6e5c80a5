"""Who is told of scheduled exports that fail or die: a real server, its automations, a worker, a webhook."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import yaml

from deployments import notify
from tasks.core.paths import PROJECT_FOLDER
from tests.services.long_running import ask, finished_runs, running, until
from tests.services.webhook import Webhook, serve_webhook

HANGS = """
import os, pathlib, time

def net():
    pathlib.Path({pid!r}).write_text(str(os.getpid()))
    time.sleep(600)
"""
"""A model whose building does not end, and that says which process is at it."""
WITHIN_SECONDS = 12
"""After which a silent export counts as lost, instead of ten minutes; Prefect takes no less than ten seconds."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(start_service: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Prefect server's API, for this process and its children; its scheduler runs."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("PREFECT_WORKER_QUERY_SECONDS", "2")
        arguments = ("server", "start", "--host", "127.0.0.1", "--port", "{port}", "--no-ui")
        api = start_service("prefect", *arguments, ready="/api/health") + "/api"
        patch.setenv("PREFECT_API_URL", api)
        with temporary_settings({PREFECT_API_URL: api}):
            yield api


@pytest.fixture
def hook(server: str) -> Iterator[Webhook]:
    """A webhook that the automations of the project call, as they ship."""
    with serve_webhook() as opened:
        assert notify.main([opened.address]) == 0
        yield opened


@pytest.fixture
def quick_hook(hook: Webhook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Webhook:
    """The same, and a silent export counts as lost soon."""
    shipped = yaml.safe_load(notify.FILE.read_text(encoding="utf-8"))
    (lost,) = [entry["trigger"] for entry in shipped["automations"] if entry["name"] == "assay-lost"]
    lost["within"] = WITHIN_SECONDS
    file = tmp_path / "automations.yaml"
    file.write_text(yaml.safe_dump(shipped))
    monkeypatch.setattr(notify, "FILE", file)
    assert notify.main([hook.address]) == 0
    return hook


@contextlib.contextmanager
def worker(folder: Path, **environment: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A worker of the pool `assay`, in a folder of its own."""
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "assay", "--type", "process"]
    store = {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
    with running(command, folder, {**os.environ, **store, **environment}) as process:
        yield process


def deploy(name: str, spec: dict[str, Any], *, every_seconds: int | None = None) -> UUID:
    """Deploy an export to the pool `assay`, with a schedule or without; gives the deployment's id."""
    from prefect import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.deployments.runner import RunnerDeployment
    from prefect.types.entrypoint import EntrypointType

    from flows.export import export_model

    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name="assay", type="process"), overwrite=True)
    deployment = RunnerDeployment.from_flow(
        export_model, name, parameters={"spec": spec}, interval=every_seconds, tags=["assay", name],
        work_pool_name="assay", entrypoint_type=EntrypointType.MODULE_PATH,
    )  # fmt: skip
    return deployment.apply()


def start_hanging(server: str, name: str, folder: Path) -> Path:
    """Ask for an export whose building does not end; gives the file that will hold the number of its process."""
    pid = folder / "pid"
    (folder / "hangs.py").write_text(HANGS.format(pid=str(pid)))
    deployed = deploy(name, {"model": f"{folder}/hangs.py:net", "weights": "as-built", "name": name})
    ask(server, f"/deployments/{deployed}/create_flow_run", {"state": {"type": "SCHEDULED"}})
    return pid


def kill(pid: Path, process: "subprocess.Popen[bytes]") -> None:
    """SIGKILL to the export, when it is at the model."""
    os.kill(int(until(lambda: pid.is_file() and pid.read_text(), process=process, seconds=120)), signal.SIGKILL)


def test_an_export_that_is_killed_is_told(server: str, hook: Webhook, tmp_path: Path) -> None:
    """By the worker that had started it, and once by the server's automation: model, verdict, reason and link."""
    pid = start_hanging(server, "killed", tmp_path)
    with serve_webhook() as direct, worker(tmp_path, ASSAY_WEBHOOK=direct.address) as process:
        kill(pid, process)
        crashed = hook.first(event="prefect.flow-run.Crashed", seconds=120)
        failed = direct.first(event="assay.export.failed", seconds=120)
    for news in (failed, crashed):
        assert (news["model"], news["verdict"]) == ("killed", "error")
        assert "status code: -9" in news["reason"]
        assert news["url"].startswith(f"{server.removesuffix('/api')}/runs/flow-run/")
    assert crashed["text"].startswith("export-killed crashed. ")
    assert (len(hook.news), len(direct.news)) == (1, 1)


def test_an_export_whose_worker_is_killed_too_is_told(server: str, quick_hook: Webhook, tmp_path: Path) -> None:
    """Nobody is left to tell: the server sees the silence, sets the run to crashed, and calls the webhook."""
    pid = start_hanging(server, "lost", tmp_path)
    with worker(tmp_path) as process:
        kill(pid, process)
        process.kill()
        news = quick_hook.first(event="prefect.flow-run.Crashed", seconds=120)
    assert (news["model"], news["verdict"]) == ("lost", "error")
    assert "ended without a word" in news["reason"]
    assert news["url"].startswith(f"{server.removesuffix('/api')}/runs/flow-run/")


def test_a_scheduled_export_that_fails_is_told_twice(server: str, hook: Webhook, tmp_path: Path) -> None:
    """By the export itself, and by the server's automation: model, verdict, reason and link of either are the same.

    The last test: what is late of its schedule waits for the next worker.
    """
    zero = f"{PROJECT_FOLDER}/tests/models/tiny_models.py:Zero"
    spec = {"model": zero, "weights": "as-built", "name": "net", "inputs": ["image=float32[batch,3,8,8]"]}
    deploy("failing", spec, every_seconds=20)
    with serve_webhook() as direct, worker(tmp_path, ASSAY_WEBHOOK=direct.address):
        said = direct.first(event="assay.export.failed", seconds=120)
        assert hook.first(event="assay.export.failed", seconds=120) == said
    assert (said["model"], said["verdict"]) == ("net", "inconclusive")
    assert "exactly zero on every probe" in said["reason"]
    assert "/runs/" in said["url"]
    assert all(run["auto_scheduled"] for run in finished_runs(server, "failing"))
