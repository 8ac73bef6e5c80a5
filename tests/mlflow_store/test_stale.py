"""What killed processes left open in a real store is closed by whoever starts next; what lives is not touched."""

import json
import subprocess
import sys
import time

import mlflow
import pytest
from mlflow.entities import LoggedModelStatus

from tasks.core.paths import PROJECT_FOLDER
from tasks.core.runtime.owners import owner
from tasks.mlflow_store import stale
from tasks.mlflow_store.entries import KIND, VERDICT
from tasks.mlflow_store.stale import HEARTBEAT, OWNER, clean_up
from tasks.mlflow_store.store import experiment_id_of

_OPEN = """
import json, sys, mlflow
from tasks.core.runtime.owners import owner
from tasks.mlflow_store.entries import KIND, NAME
from tasks.mlflow_store.stale import OWNER
from tasks.mlflow_store.store import connect, experiment_id_of
client = connect()
experiment = experiment_id_of(client)
found = {}
for kind in ("export", "sweep", "registered"):
    tags = {KIND: kind, NAME: kind, OWNER: owner()}
    run = client.create_run(experiment, tags=tags).info.run_id
    model = client.create_logged_model(experiment, kind, source_run_id=run).model_id
    found[kind] = (run, model)
client.create_registered_model("registered")
tags = {"assay.verdict": "pass"}
client.create_model_version("registered", "models:/" + model, run_id=run, model_id=model, tags=tags)
print(json.dumps(found), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def clean(own_store: mlflow.MlflowClient) -> mlflow.MlflowClient:
    """A store that this process has not cleaned up yet."""
    stale._clean_up.cache_clear()
    return own_store


def test_what_the_killed_left_is_closed(clean: mlflow.MlflowClient) -> None:
    """With the reason, once their process is gone; a run whose version was registered is a finished one."""
    with subprocess.Popen(
        [sys.executable, "-c", _OPEN], cwd=PROJECT_FOLDER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        found = json.loads(process.stdout.readline())
        clean_up()
        assert {clean.get_run(run).info.status for run, _ in found.values()} == {"RUNNING"}
        process.kill()
    stale._clean_up.cache_clear()
    clean_up()
    runs = {kind: clean.get_run(run) for kind, (run, _) in found.items()}
    assert {clean.get_logged_model(model).status for _, model in found.values()} == {LoggedModelStatus.FAILED}
    assert [run.info.status for run in runs.values()] == ["KILLED", "KILLED", "FINISHED"]
    assert [run.data.tags.get(VERDICT) for run in runs.values()] == ["error", None, "pass"]
    assert f"its process ({process.pid} on " in runs["export"].data.tags["assay.ended"]
    assert runs["registered"].info.run_name == "✔ registered v1"


def test_what_may_live_is_left_alone(clean: mlflow.MlflowClient) -> None:
    """This process, one of another machine that spoke within a day, and whatever is not Assay's."""
    experiment = experiment_id_of(clean)
    host, boot, namespace, pid, _ = owner().split("/")
    elsewhere, now = "/".join(("other", boot, namespace, pid, "1")), time.time()
    old, day = int((now - 90_000) * 1000), 25 * 3600
    living = [
        clean.create_run(experiment, tags={KIND: "export", OWNER: owner()}),
        clean.create_run(experiment, tags={KIND: "export", OWNER: elsewhere}),
        clean.create_run(experiment, old, {KIND: "export", OWNER: elsewhere, HEARTBEAT: str(now - 60)}),
        clean.create_run(experiment, old),
    ]
    dead = [
        clean.create_run(experiment, tags={KIND: "export", OWNER: "/".join((host, boot, namespace, pid, "1"))}),
        clean.create_run(experiment, old, {KIND: "export", OWNER: elsewhere}),
        clean.create_run(experiment, tags={KIND: "sweep", OWNER: elsewhere, HEARTBEAT: str(now - day)}),
        clean.create_run(experiment, old, {KIND: "verification"}),
    ]
    clean_up()
    assert [clean.get_run(run.info.run_id).info.status for run in living] == ["RUNNING"] * 4
    assert [clean.get_run(run.info.run_id).info.status for run in dead] == ["KILLED"] * 4
    assert "25 hours" in clean.get_run(dead[2].info.run_id).data.tags["assay.ended"]


def test_a_run_says_that_it_lives(clean: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """From time to time."""
    monkeypatch.setattr(stale, "BEAT_SECONDS", 0.05)
    run = clean.create_run(experiment_id_of(clean)).info.run_id
    with stale.beating(clean, run):
        deadline = time.monotonic() + 20
        while HEARTBEAT not in clean.get_run(run).data.tags and time.monotonic() < deadline:
            time.sleep(0.05)
    assert abs(float(clean.get_run(run).data.tags[HEARTBEAT]) - time.time()) < 30
