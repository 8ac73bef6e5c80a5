"""Many models side by side: a real pool of processes, real crashes, a real MLflow store, a real Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import mlflow
import psutil
import pytest

PROJECT = Path(__file__).resolve().parents[2]
MANY = f"{PROJECT}/tests/models/many_models.py"
INPUT = ("--input", "x=float32[batch,6]", "--weights", "random")
NUM_MODELS = 16


def models(*names: str) -> list[str]:
    """Import paths of tiny models."""
    return [f"{MANY}:{name}" for name in names]


def command(*arguments: str) -> list[str]:
    """The command line of a sweep."""
    return [sys.executable, str(PROJECT / "flows/sweep.py"), *arguments, *INPUT]


def run(*arguments: str, cwd: Path, status: int = 0, **environment: str) -> list[dict[str, Any]]:
    """Run flows/sweep.py as a user does; give its results."""
    process = subprocess.run(
        command(*arguments, "--json", "out.json"),
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert process.returncode == status, process.stdout + process.stderr
    assert "Traceback" not in process.stdout + process.stderr
    results: list[dict[str, Any]] = json.loads((cwd / "out.json").read_text())["results"]
    return results


def parent_runs(client: mlflow.MlflowClient) -> list[Any]:
    """The runs that stand for sweeps, the latest first."""
    (experiment,) = client.search_experiments(filter_string="name = 'onnx-exports'")
    return list(client.search_runs([experiment.experiment_id], "tags.`assay.sweep` != ''"))


@pytest.mark.usefixtures("prefect_server")
def test_a_sweep_is_one_run_with_its_models_below(tmp_path: Path, own_store: mlflow.MlflowClient) -> None:
    """Each model is proven in a run below the sweep's, which holds a table of all; again, all are unchanged."""
    first = run(*models("Net0", "Net1", "Net2"), cwd=tmp_path)
    assert {r["name"]: r["verdict"] for r in first} == dict.fromkeys(("Net0", "Net1", "Net2"), "pass")
    (parent,) = parent_runs(own_store)
    below = own_store.search_runs([parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    assert {run.info.run_id for run in below} == {r["run_id"] for r in first}
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["num_pass"] == 3
    table = json.loads(Path(own_store.download_artifacts(parent.info.run_id, "comparison.json")).read_text())
    assert table["columns"][:3] == ["model", "verdict", "noise ratio"]
    assert sorted(row[0] for row in table["data"]) == ["Net0", "Net1", "Net2"]

    second = run(*models("Net0", "Net1", "Net2"), cwd=tmp_path)
    assert all(r["unchanged"] and r["verdict"] == "pass" for r in second)
    assert {r["version"] for r in second} == {"1"}
    assert len(parent_runs(own_store)) == 2


@pytest.mark.usefixtures("prefect_server", "own_store")
def test_a_crash_costs_one_model_only(tmp_path: Path) -> None:
    """A process that dies or hangs in the exporter is one recorded error that says how, and the others are proven."""
    says = {"Segfault": "killed by SIGSEGV", "Killed": "killed by SIGKILL", "Hang": "longer than 25 s"}
    results = run(*models("Net0", *says, "Net1"), "--workers", "2", "--timeout", "25", cwd=tmp_path, status=1)
    found = {r["name"]: r for r in results}
    assert found["Net0"]["verdict"] == found["Net1"]["verdict"] == "pass"
    for name, sentence in says.items():
        assert found[name]["verdict"] == "error"
        assert sentence in found[name]["reason"]
        assert found[name]["error"]["type"] == "CrashError"


@pytest.mark.usefixtures("prefect_server", "own_store")
@pytest.mark.parametrize("program", ["flows/sweep.py", "flows/export.py"])
def test_what_a_models_code_does_stays_with_it(tmp_path: Path, program: str) -> None:
    """Neither a patched PyTorch nor a crash, an exit or prints reach the next model's proof, or the JSON."""
    names = ("Patches", "Segfault", "Exits", "Leaves", "Interrupts", "Prints", "Relu")
    peculiar = [f"{PROJECT}/tests/models/peculiar_models.py:{name}" for name in names if name != "Segfault"]
    asked = [peculiar[0], *models("Segfault"), *peculiar[1:]]
    one_by_one = ["--workers", "1"] if program == "flows/sweep.py" else []
    process = subprocess.run(
        [sys.executable, str(PROJECT / program), *asked, *INPUT, *one_by_one, "--json", "-"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    results = {r["name"]: r for r in json.loads(process.stdout)["results"]}
    assert tuple(results) == names, "in the order asked"
    assert {results[name]["verdict"] for name in ("Segfault", "Exits", "Leaves", "Interrupts")} == {"error"}
    assert "SIGSEGV" in results["Segfault"]["reason"]
    assert "ended by its own code" in results["Leaves"]["reason"]
    assert results["Prints"]["verdict"] == results["Relu"]["verdict"] == "pass"
    assert process.returncode == 2, "a model that raises is bad input"

    verify = [sys.executable, str(PROJECT / "flows/verify.py"), peculiar[-1], results["Relu"]["onnx_path"]]
    again = subprocess.run([*verify, *INPUT], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0, "a process of its own says the same of the file: " + again.stdout


@pytest.mark.usefixtures("prefect_server", "own_store")
def test_a_warm_process_has_imported_what_it_needs() -> None:
    """Each model has a fresh one, so that what is imported late is imported once a model (559 modules, 0.7 s)."""
    command = [sys.executable, "-m", "tests.flows.processes.late_imports"]
    process = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=300)
    assert process.returncode == 0, process.stderr
    assert int(process.stdout.split()[-1]) < 150


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_server", "own_store")
@pytest.mark.parametrize("name", ["Segfault", "Killed", "Hang"])
def test_fifteen_of_sixteen_are_proven(tmp_path: Path, name: str) -> None:
    """Whatever kills the process of one model, fifteen others are proven in the same sweep."""
    names = [f"Net{number}" for number in range(NUM_MODELS - 1)]
    results = run(*models(*names, name), "--workers", "2", "--timeout", "60", cwd=tmp_path, status=1)
    assert len(results) == NUM_MODELS
    assert sum(r["verdict"] == "pass" for r in results) == NUM_MODELS - 1
    assert [r["name"] for r in results if r["verdict"] == "error"] == [name]


@pytest.mark.usefixtures("prefect_server", "own_store")
def test_what_is_wrong_is_said_and_the_rest_exported(tmp_path: Path) -> None:
    """A model that does not exist is a result with its sentence and status 2; the others are exported."""
    results = run(*models("Net0", "Nett1"), cwd=tmp_path, status=2)
    found = {r["name"]: r for r in results}
    assert found["Net0"]["verdict"] == "pass"
    assert "has no callable 'Nett1'" in found["Nett1"]["reason"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--select", "no*"], "fits none of the"),
        (["--dask", "localhost"], "is no address of a scheduler"),
        (["--dask", "tcp://127.0.0.1:9", "digits"], "start one with `dask scheduler`"),
        (["--workers", "0"], "no number from 1 up"),
        (["resnet18", "resnet18"], "Two models are called resnet18"),
    ],
)
@pytest.mark.usefixtures("prefect_server", "own_store")
def test_bad_input_is_one_sentence(tmp_path: Path, arguments: list[str], says: str) -> None:
    """What a sweep can't do is said in one sentence, with status 2, or 3 where a scheduler is out of reach."""
    process = subprocess.run(
        [sys.executable, str(PROJECT / "flows/sweep.py"), *arguments, "--weights", "random"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert process.returncode == (3 if "tcp" in str(arguments) else 2), process.stderr
    (line,) = process.stderr.strip().splitlines()
    assert says in line


@pytest.mark.usefixtures("prefect_server")
def test_an_interrupted_sweep_goes_on(tmp_path: Path, own_store: mlflow.MlflowClient) -> None:
    """After Ctrl-C no process is left and what is proven stays; --resume goes on with the same run, redoing none."""
    flag = tmp_path / "flag"
    environment = {**os.environ, "SLOW_MODEL_FLAG": str(flag), "SLOW_MODEL_SECONDS": "100"}
    arguments = [*models("Net0", "Net1", "Slow"), "--workers", "2"]
    with subprocess.Popen(
        command(*arguments), cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, start_new_session=True
    ) as sweep:
        deadline = time.monotonic() + 200
        while not (flag.exists() and len(proven(own_store)) == 2):
            assert time.monotonic() < deadline
            assert sweep.poll() is None
            time.sleep(0.5)
        children = psutil.Process(sweep.pid).children(recursive=True)
        sweep.send_signal(signal.SIGINT)
        assert sweep.wait(60) == 130
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive
    (interrupted,) = parent_runs(own_store)
    assert interrupted.info.status == "KILLED"

    before = proven(own_store)
    results = run(*arguments, "--resume", cwd=tmp_path, SLOW_MODEL_SECONDS="0")
    assert all(r["verdict"] == "pass" for r in results)
    assert {name: version for name, version in proven(own_store).items() if name != "Slow"} == before
    assert {r["run_id"] for r in results if r["name"] != "Slow"} == set(before.values())
    (resumed,) = parent_runs(own_store)
    assert resumed.info.run_id == interrupted.info.run_id
    assert resumed.info.status == "FINISHED"


def proven(client: mlflow.MlflowClient) -> dict[str, str]:
    """The run that proved each registered model's only version."""
    return {str(version.name): str(version.run_id) for version in client.search_model_versions()}
