"""Exports that start on their own: a real Prefect server with its scheduler, served deployments, and a worker."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest
import yaml

from deployments import serve
from flows.export import ExportSpec
from tasks.core.hashes import file_sha256
from tasks.core.spec.catalog import read_catalog
from tests.services.long_running import ask, finished_runs, running, until

ROOT = Path(__file__).parents[2]
SERVE = [sys.executable, str(ROOT / "deployments" / "serve.py")]
EVERY_SECONDS = 5
STEPS = ["fetch_weights", "instantiate_model", "create_inputs", "export_onnx", "validate_onnx", "log_export"]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A user's environment: nothing configured but a home for Prefect and quick polling."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "MLFLOW", "_MLFLOW"))}
    return kept | {
        "PREFECT_HOME": str(tmp_path_factory.mktemp("home")),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_RUNNER_POLL_FREQUENCY": "2",
        "PREFECT_WORKER_QUERY_SECONDS": "2",
    }


@pytest.fixture(scope="module")
def server(environment: dict[str, str], start_service: Callable[..., str]) -> str:
    """The address of a Prefect server's API; its scheduler runs."""
    arguments = ["server", "start", "--host", "127.0.0.1", "--port", "{port}", "--no-ui"]
    return start_service("prefect", *arguments, ready="/api/health", env=environment) + "/api"


@pytest.fixture
def store(tmp_path: Path) -> str:
    """A tracking URI of a store that does not exist yet."""
    return f"sqlite:///{tmp_path}/mlflow.db"


def start_run(server: str, deployment: dict[str, Any], *, parameters: dict[str, Any], state: str = "SCHEDULED") -> None:
    """Ask the server for a run of a deployment, as its form does."""
    body = {"parameters": parameters, "state": {"type": state}}
    ask(server, f"/deployments/{deployment['id']}/create_flow_run", body)


def num_tasks(server: str, run: dict[str, Any]) -> int:
    """How many tasks a flow run had."""
    body = {"task_runs": {"flow_run_id": {"any_": [run["id"]]}}}
    return len(ask(server, "/task_runs/filter", body))


def steps_said(server: str, run: dict[str, Any]) -> list[str]:
    """The steps that spoke in a flow run's logs on Prefect's server, which come in batches and may come late."""
    body = {"logs": {"flow_run_id": {"any_": [run["id"]]}}, "sort": "TIMESTAMP_ASC"}
    steps: list[str] = []
    deadline = time.monotonic() + 15
    while "log_export" not in steps and time.monotonic() < deadline:
        logs = ask(server, "/logs/filter", body)
        steps = [log["message"].partition(":")[0] for log in logs if log["name"] == "assay"]
        time.sleep(0.5)
    return steps


@pytest.mark.slow
def test_a_schedule_fires_twice_and_only_the_first_makes_a_version(
    server: str, environment: dict[str, str], store: str, tmp_path: Path
) -> None:
    """A served schedule fires on its own: a version first, then `unchanged`; stopping pauses it."""
    environment = environment | {"PREFECT_API_URL": server, "MLFLOW_TRACKING_URI": store}
    command = [*SERVE, "digits", "--every", str(EVERY_SECONDS)]
    with running(command, tmp_path, environment) as process:
        first, second, *_ = until(
            lambda: (runs := finished_runs(server, "digits"))[1:] and runs, process=process, seconds=200
        )
    assert (first["state_type"], second["state_type"]) == ("COMPLETED", "COMPLETED")
    assert first["auto_scheduled"]
    assert second["auto_scheduled"]
    assert num_tasks(server, first) == len(STEPS)
    assert num_tasks(server, second) == 0
    assert steps_said(server, first) == STEPS
    client = mlflow.MlflowClient(store)
    assert len(client.search_model_versions("name='digits'")) == 1
    experiment = client.get_experiment_by_name("onnx-exports")
    assert len(client.search_runs([experiment.experiment_id])) == 1
    assert ask(server, "/deployments/name/export-model/digits")["paused"]


@pytest.fixture(scope="module")
def deployed(server: str, environment: dict[str, str]) -> dict[str, dict[str, Any]]:
    """All deployments of prefect.yaml by name, deployed from the repository as the README says."""
    environment = environment | {"PREFECT_API_URL": server}
    for arguments in (
        ["work-pool", "create", "assay", "--type", "process"],
        ["deploy", "--all", "--prefect-file", "deployments/prefect.yaml"],
    ):
        subprocess.run(
            [sys.executable, "-m", "prefect", "--no-prompt", *arguments], cwd=ROOT, env=environment, check=True
        )
    found = ask(server, "/deployments/filter", {"work_pools": {"name": {"any_": ["assay"]}}})
    return {deployment["name"]: deployment for deployment in found}


@pytest.mark.slow
def test_every_deployment_of_the_file_is_there(deployed: dict[str, dict[str, Any]]) -> None:
    """`prefect deploy --all` makes each, one on an interval and two on a cron, in the pool `assay`."""
    in_file = yaml.safe_load((ROOT / "deployments" / "prefect.yaml").read_text())["deployments"]
    assert deployed.keys() == {entry["name"] for entry in in_file}
    schedules = [schedule["schedule"].keys() for d in deployed.values() for schedule in d["schedules"]]
    assert sum("interval" in schedule for schedule in schedules) == 1
    assert sum("cron" in schedule for schedule in schedules) == 2
    for deployment in deployed.values():
        assert deployment["parameters"].get("spec", {"model": "digits"})["model"] in read_catalog()


@pytest.mark.slow
def test_nothing_of_the_deploying_machine_is_stored(deployed: dict[str, dict[str, Any]]) -> None:
    """No deployment holds a path of the checkout, so that a worker anywhere can run it."""
    for deployment in deployed.values():
        assert deployment["pull_steps"] == []
        assert str(ROOT) not in json.dumps(deployment)


@pytest.mark.slow
def test_the_form_is_typed_and_explained(deployed: dict[str, dict[str, Any]]) -> None:
    """Prefect's UI can draw a form: every parameter and every field of the spec has a type, a title, a description."""
    schema = deployed["on-demand"]["parameter_openapi_schema"]
    fields = schema["definitions"]["ExportSpec"]["properties"]
    assert fields.keys() == ExportSpec.model_fields.keys()
    assert schema["required"] == ["spec"]
    for name, field in {**schema["properties"], **fields}.items():
        assert {"type", "anyOf", "enum", "$ref"} & field.keys(), name
        assert field["title"], name
        assert field.get("description"), name


@pytest.mark.slow
@pytest.mark.parametrize("given", [{"inputs": ["image=float32[batch,1,8,8]"]}, {"weights": None}], ids=str)
def test_the_form_takes_what_the_catalog_takes(
    server: str, deployed: dict[str, dict[str, Any]], given: dict[str, Any]
) -> None:
    """The server accepts inputs written as on the command line, and weights left empty."""
    start_run(server, deployed["on-demand"], parameters={"spec": {"model": "digits", **given}}, state="CANCELLED")


@pytest.mark.slow
def test_a_worker_elsewhere_exports_and_sweeps(
    server: str, deployed: dict[str, dict[str, Any]], environment: dict[str, str], store: str, tmp_path: Path
) -> None:
    """A worker in another folder does what `prefect deployment run` asks for, and the proven file outlives the run.

    A deployed sweep proves its models side by side, and fails in the end where one of them is not proven.
    """
    environment = environment | {"PREFECT_API_URL": server, "MLFLOW_TRACKING_URI": store}
    prefect = [sys.executable, "-m", "prefect"]
    timm = {"model": "timm:test_resnet", "weights": "random"}
    swept = {"specs": [{"model": "digits", "name": "swept"}, {"model": "digitz"}, timm]}
    with running(
        [*prefect, "worker", "start", "--pool", "assay", "--type", "process"], tmp_path, environment
    ) as process:
        subprocess.run([*prefect, "deployment", "run", "export-model/digits-hourly"], env=environment, check=True)
        (run,) = until(lambda: finished_runs(server, "digits-hourly"), process=process, seconds=180)
        start_run(server, deployed["catalog-nightly"], parameters=swept)
        said = steps_said(server, run)  # before the worker ends: the last logs are sent after the run
        (sweep,) = until(lambda: finished_runs(server, "catalog-nightly"), process=process, seconds=180)
    assert run["state_type"] == "COMPLETED"
    assert said == STEPS
    version = mlflow.MlflowClient(store).get_model_version_by_alias("digits", "champion")
    hashes = {file_sha256(graph) for graph in (tmp_path / "mlruns").rglob("model.onnx")}
    assert version.tags["assay.onnx_sha256"] in hashes
    assert sweep["state_type"] == "FAILED"
    assert "1 of 3 models are not proven" in sweep["state"]["message"]
    assert mlflow.MlflowClient(store).get_model_version_by_alias("swept", "champion")
    assert mlflow.MlflowClient(store).get_model_version_by_alias("test_resnet", "proven")


@pytest.mark.parametrize(
    ("arguments", "api_url", "status", "said"),
    [
        ([], "", 3, "start one with `prefect server start`"),
        ([], "http://127.0.0.1:9/api", 3, "127.0.0.1:9"),
        (["digit"], "", 2, "'digit' is no entry of deployments/catalog.yaml"),
        (["--cron", "hourly"], "", 2, "The schedule is wrong"),
    ],
    ids=["no server", "dead server", "no entry", "no cron"],
)
def test_serving_says_what_is_wrong(
    arguments: list[str], api_url: str, status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`serve.py` says in one sentence what is wrong and what to do, with exit status 3 where a server lacks."""
    from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    with temporary_settings({PREFECT_API_URL: api_url or None, PREFECT_CLIENT_MAX_RETRIES: 0}):
        assert serve.main(arguments) == status
    printed = capsys.readouterr()
    assert said in printed.err
    assert len(printed.err.splitlines()) == 1


def test_serving_from_any_folder_needs_a_server(environment: dict[str, str], tmp_path: Path) -> None:
    """As a user starts it, without a server: the sentence, and status 3."""
    found = subprocess.run(SERVE, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert found.returncode == 3
    assert "start one with `prefect server start`" in found.stderr
    assert len(found.stderr.splitlines()) == 1
