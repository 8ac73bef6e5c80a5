"""A sweep over many machines: a Dask scheduler and workers as processes with folders and homes of their own."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow
import pytest

from tests.flows.test_sweep import PROJECT, command, models, proven

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_server")]


@pytest.fixture(scope="module")
def tracking_server(start_service: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of an MLflow server that takes and gives the artifacts itself."""
    folder = tmp_path_factory.mktemp("tracking")
    env = {name: value for name, value in os.environ.items() if "MLFLOW" not in name}
    env["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    store = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", f"{folder}/artifacts"]
    arguments = ["server", "--serve-artifacts", *store, "--workers", "1", "--port", "{port}"]
    return start_service("mlflow", *arguments, ready="/health", cwd=folder, env=env)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Callable[..., "subprocess.Popen[bytes]"]]:
    """A function that starts a command as if on another machine: a folder, a home and a process group of its own."""
    with contextlib.ExitStack() as stack:

        def start(name: str, *arguments: str, **environment: str) -> "subprocess.Popen[bytes]":
            folder = tmp_path / name
            (folder / "home").mkdir(parents=True)
            kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW", "_MLFLOW", "PREFECT_API"))}
            env = {**kept, "HOME": str(folder / "home"), "PREFECT_HOME": str(folder / "home/.prefect"), **environment}
            with (folder / "log.txt").open("w") as log:
                process = subprocess.Popen(
                    [sys.executable, "-m", *arguments], cwd=folder, env=env, stdout=log, stderr=log,
                    start_new_session=True,
                )  # fmt: skip
            stack.callback(_kill, process)
            return process

        yield start


def _kill(process: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(20)


@pytest.fixture
def scheduler(machine: Callable[..., "subprocess.Popen[bytes]"], tmp_path: Path) -> str:
    """The address of a scheduler with two workers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = tmp_path / "scheduler.json"
    listen = ["--host", "127.0.0.1", "--port", str(port), "--no-dashboard", "--scheduler-file", str(where)]
    machine("scheduler", "dask", "scheduler", *listen)
    address = f"tcp://127.0.0.1:{port}"
    for name in ("one", "two"):
        options = ["--nthreads", "1", "--no-dashboard", "--local-directory", str(tmp_path / name)]
        environment = {"OMP_NUM_THREADS": "1", "SLOW_MODEL_FLAG": str(tmp_path / "flag"), "SLOW_MODEL_SECONDS": "12"}
        machine(name, "dask", "worker", address, *options, **environment)
    import distributed

    with distributed.Client(address, timeout=60, set_as_default=False) as client:  # type: ignore[no-untyped-call]
        client.wait_for_workers(2, timeout=120)
    return address


def test_many_machines_and_one_of_them_dies(
    tracking_server: str, scheduler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All is proven though a worker is killed amid an export; nothing is left on the driver's disk."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_server)
    driver = tmp_path / "driver"
    (driver / "home").mkdir(parents=True)
    names = ["Slow", "Net0", "Net1", "Net2", "Net3", "Net4"]
    flag = tmp_path / "flag"
    with subprocess.Popen(
        command(*models(*names), "--dask", scheduler, "--json", "out.json"),
        cwd=driver,
        env={**os.environ, "HOME": str(driver / "home")},
    ) as sweep:
        deadline = time.monotonic() + 240
        while not flag.exists():
            assert time.monotonic() < deadline
            assert sweep.poll() is None
            time.sleep(0.2)
        os.killpg(os.getpgid(int(flag.read_text().split()[0])), signal.SIGKILL)
        assert sweep.wait(400) == 0
    results = json.loads((driver / "out.json").read_text())["results"]
    assert {r["name"]: r["verdict"] for r in results} == dict.fromkeys(names, "pass")
    assert len(set(flag.read_text().split())) == 2, "the model of the killed worker was exported by the other one"

    client = mlflow.MlflowClient(tracking_server)
    assert set(proven(client)) == set(names)
    (experiment,) = client.search_experiments(filter_string="name = 'onnx-exports'")
    assert str(experiment.artifact_location).startswith("mlflow-artifacts:")
    assert sorted(path.name for path in driver.iterdir()) == ["home", "out.json"]


def test_a_cluster_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--dask without an address starts a cluster here, and gives the same results."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    arguments = [*models("Net5", "Net6"), "--workers", "2", "--dask", "--json", "out.json"]
    process = subprocess.run(command(*arguments), cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert process.returncode == 0, process.stdout + process.stderr
    results = json.loads((tmp_path / "out.json").read_text())["results"]
    assert [r["verdict"] for r in results] == ["pass", "pass"]


def test_a_disk_of_this_machine_is_no_store_for_others(tmp_path: Path) -> None:
    """A sweep over other machines without a tracking server is refused in one sentence."""
    process = subprocess.run(
        [sys.executable, str(PROJECT / "flows/sweep.py"), "digits", "--dask", "tcp://192.0.2.1:8786"],
        cwd=tmp_path,
        env={**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert process.returncode == 2
    assert "set MLFLOW_TRACKING_URI to a tracking server" in process.stderr
