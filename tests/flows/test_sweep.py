"""Many models side by side: a real pool of processes, real crashes, a real MLflow store, a real Ctrl-C.

Most sweeps are started in this process, whose fork server then serves them all.
"""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import psutil
import pytest

from flows.command_line.parsers import sweep_parser
from flows.command_line.sweep import _specs as specs_of
from flows.command_line.sweep import main
from flows.command_line.verify import main as verify_main
from flows.processes import sweep_workers
from flows.processes.export_here import services
from flows.processes.warm_process import PRELOADED, WarmProcesses
from tasks.core.spec.resolve import make_spec, resolve
from tests.flows.in_process import Ran
from tests.flows.processes.late_imports import num_imports
from tests.models.tiny_transformers import vit

PROJECT = Path(__file__).resolve().parents[2]
MANY = f"{PROJECT}/tests/models/many_models.py"
INPUT = ("--input", "x=float32[batch,6]", "--weights", "random")
NUM_MODELS = 6


def models(*names: str) -> list[str]:
    """Import paths of tiny models."""
    return [f"{MANY}:{name}" for name in names]


def command(*arguments: str) -> list[str]:
    """The command line of a sweep."""
    return [sys.executable, str(PROJECT / "flows/sweep.py"), *arguments, *INPUT]


def peculiar(*names: str) -> list[str]:
    """Import paths of models whose code does what it should not."""
    return [f"{PROJECT}/tests/models/peculiar_models.py:{name}" for name in names]


@pytest.fixture
def sweep(call: Callable[..., Ran]) -> Callable[..., Ran]:
    """A function that calls the command line's main."""
    return lambda *arguments: call(main, *arguments, *INPUT)


def parent_runs(client: mlflow.MlflowClient) -> list[Any]:
    """The runs that stand for sweeps, the latest first."""
    (experiment,) = client.search_experiments(filter_string="name = 'onnx-exports'")
    return list(client.search_runs([experiment.experiment_id], "tags.`assay.sweep` != ''"))


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_server")
def test_a_sweep_is_one_run_with_its_models_below(own_store: mlflow.MlflowClient, sweep: Callable[..., Ran]) -> None:
    """Each model is proven in a run below the sweep's, which holds a table of all; again, all are unchanged."""
    names = ["Net0", "Net1", "Net2"]
    ran = sweep(*models(*names))
    assert ran.status == 0, ran.err
    first = ran.results
    assert [(r["name"], r["verdict"]) for r in first] == [(name, "pass") for name in names]
    (parent,) = parent_runs(own_store)
    below = own_store.search_runs([parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    assert {run.info.run_id for run in below} == {r["run_id"] for r in first}
    assert (parent.info.status, parent.info.run_name) == ("FINISHED", "✔ sweep of 3 models")
    assert parent.data.metrics["num_pass"] == 3
    assert (parent.data.tags["assay.verdict"], parent.data.tags["assay.kind"]) == ("pass", "sweep")
    assert all(f"[✔ {name}](#/models/{name}/versions/1" in parent.data.tags["mlflow.note.content"] for name in names)
    table = json.loads(Path(own_store.download_artifacts(parent.info.run_id, "comparison.json")).read_text())
    assert table["columns"][:3] == ["model", "verdict", "noise ratio"]
    assert sorted(row[0] for row in table["data"]) == names

    second = sweep(*models(*names))
    assert second.status == 0, second.err
    assert all(r["unchanged"] and r["verdict"] == "pass" for r in second.results)
    assert {r["version"] for r in second.results} == {"1"}
    assert len(parent_runs(own_store)) == 2


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_server", "own_store")
def test_a_crash_costs_one_model_only(sweep: Callable[..., Ran]) -> None:
    """A process that is killed in the exporter is one recorded error that says how, and the others are proven."""
    ran = sweep(*models("Net0", "Killed", "Net1"), "--workers", "2")
    assert ran.status == 1, ran.err
    assert ran.verdicts == ["pass", "error", "pass"]
    assert "killed by SIGKILL" in ran.named["Killed"]["reason"]
    assert ran.named["Killed"]["error"]["type"] == "CrashError"


@pytest.mark.usefixtures("prefect_server", "own_store")
def test_what_hangs_is_given_up(sweep: Callable[..., Ran]) -> None:
    """A process that hangs in the exporter is ended after --timeout, and the result says so."""
    ran = sweep(*models("Hang"), "--timeout", "4")
    assert (ran.status, ran.verdicts) == (1, ["error"])
    assert "longer than 4 s" in ran.results[0]["reason"]
    assert ran.results[0]["error"]["type"] == "CrashError"


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_server", "own_store")
def test_what_a_models_code_does_stays_with_it(sweep: Callable[..., Ran], call: Callable[..., Ran]) -> None:
    """Neither a patched PyTorch nor a crash or an exit reaches the next model's proof."""
    ran = sweep(
        *peculiar("Patches"), *models("Segfault"), *peculiar("Exits", "Leaves", "Interrupts", "Relu"),
        "--workers", "1",
    )  # fmt: skip
    assert list(ran.named) == ["Patches", "Segfault", "Exits", "Leaves", "Interrupts", "Relu"], "in the order asked"
    assert ran.verdicts[1:] == ["error", "error", "error", "error", "pass"]
    assert "SIGSEGV" in ran.named["Segfault"]["reason"]
    assert "ended by its own code" in ran.named["Leaves"]["reason"]
    assert ran.status == 2, "a model that raises is bad input"
    assert all(result["run_id"] for result in ran.results), "each attempt has a run, crashed ones, too"
    again = call(verify_main, *peculiar("Relu"), ran.named["Relu"]["onnx_path"], *INPUT)
    assert again.status == 0, "another process says the same of the file: " + again.err


@pytest.mark.usefixtures("prefect_server", "own_store")
def test_a_warm_process_has_imported_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each model has a fresh one, so that what is imported late is imported once a model (559 modules, 0.7 s)."""
    monkeypatch.syspath_prepend(PROJECT)  # where the other process finds `num_imports`, however pytest was started
    spec = resolve(make_spec(model="squeezenet1_1", weights="random", inputs=["x=float32[batch,3,64,64]"]))
    processes = WarmProcesses(is_silent=True)
    try:
        assert processes.run("an export", 300, num_imports, spec, services()) < 150
    finally:
        processes.close()


@pytest.mark.parametrize("name", PRELOADED)
def test_what_is_preloaded_exists(name: str) -> None:
    """The fork server says nothing of a module that it can't import."""
    assert importlib.util.find_spec(name)


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_server", "own_store")
@pytest.mark.parametrize("name", ["Segfault", "Killed", "Hang"])
def test_all_others_are_proven(sweep: Callable[..., Ran], name: str) -> None:
    """Whatever kills the process of one model, the others are proven in the same sweep."""
    names = [f"Net{number}" for number in range(NUM_MODELS - 1)]
    ran = sweep(*models(*names, name), "--workers", "2", "--timeout", "60")
    assert ran.status == 1, ran.err
    assert len(ran.results) == NUM_MODELS
    assert sum(verdict == "pass" for verdict in ran.verdicts) == NUM_MODELS - 1
    assert [r["name"] for r in ran.results if r["verdict"] == "error"] == [name]


@pytest.mark.usefixtures("prefect_server", "own_store")
def test_what_is_wrong_is_said_and_the_rest_exported(sweep: Callable[..., Ran]) -> None:
    """A model that does not exist is a result with its sentence and status 2; the others are exported."""
    ran = sweep(*models("Net0", "Nett1"))
    assert ran.status == 2, ran.err
    assert ran.named["Net0"]["verdict"] == "pass"
    assert "has no callable 'Nett1'" in ran.named["Nett1"]["reason"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--select", "no*"], "fits none of the"),
        (["--select", "timm:no*"], "models that can be listed"),
        (["digits", "--select", "timm:*"], "fits none of the 1 models (digits"),
        (["--dask", "localhost"], "is no address of a scheduler"),
        (["--dask", "tcp://127.0.0.1:9", "digits"], "start one with `dask scheduler`"),
        (["--workers", "0"], "no number from 1 up"),
        (["resnet18", "resnet18"], "Two models are called resnet18"),
    ],
)
@pytest.mark.usefixtures("prefect_server", "store")
def test_bad_input_is_one_sentence(
    arguments: list[str], says: str, call: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a sweep can't do is said in one sentence, with status 2, or 3 where a scheduler is out of reach."""
    monkeypatch.setattr(sweep_workers, "CONNECT_SECONDS", 0.5)
    ran = call(main, *arguments, "--weights", "random")
    assert ran.status == (3 if "tcp" in str(arguments) else 2), ran.err
    assert says in ran.sentence


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--select", "timm:test_resnet*"], ["test_resnet"]),
        (["--select", "timm:test_resnet*.*"], ["test_resnet_r160_in1k"]),
        (["timm:test_vit", "timm:test_resnet", "--select", "timm:*vit"], ["test_vit"]),
        (["timm:test_vit", "timm:test_resnet", "--select", "*net"], ["test_resnet"]),
    ],
)
def test_a_pattern_chooses_models_of_timm(arguments: list[str], names: list[str]) -> None:
    """Of all that timm has where no MODEL is given, tags of weights only if it has a dot; else of the given ones."""
    specs = specs_of(sweep_parser().parse_args([*arguments, "--weights", "random"]))
    assert [spec.title for spec in specs] == names


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_server", "own_store")
def test_models_of_every_family_are_swept_together(tmp_path: Path, call: Callable[..., Ran]) -> None:
    """A folder of transformers and a name of timm, each as any other."""
    vit(tmp_path / "pictures")
    ran = call(main, f"hf:{tmp_path}/pictures", "timm:test_vit", "--weights", "random")
    assert (ran.status, list(ran.named)) == (0, ["pictures", "test_vit"]), ran.err
    assert ran.verdicts == ["pass", "pass"]


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_server")
def test_an_interrupted_sweep_goes_on(
    tmp_path: Path, own_store: mlflow.MlflowClient, sweep: Callable[..., Ran]
) -> None:
    """After Ctrl-C no process is left and what is proven stays; --resume goes on with the same run, redoing none.

    The JSON is written all the same, and what a model prints does not reach it.
    """
    flag = tmp_path / "flag"
    environment = {**os.environ, "SLOW_MODEL_FLAG": str(flag), "SLOW_MODEL_SECONDS": "100"}
    arguments = [*models("Net0"), *peculiar("Prints"), *models("Slow"), "--workers", "2"]
    with (
        (tmp_path / "out.txt").open("w") as output,
        subprocess.Popen(
            command(*arguments, "--json", "-"), cwd=tmp_path, env=environment, stdout=output, start_new_session=True
        ) as process,
    ):
        deadline = time.monotonic() + 200
        while not (flag.exists() and len(proven(own_store)) == 2):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.5)
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive
    written = json.loads((tmp_path / "out.txt").read_text())["results"]
    assert {r["name"]: r["verdict"] for r in written} == {"Net0": "pass", "Prints": "pass", "Slow": "error"}
    (interrupted,) = parent_runs(own_store)
    assert interrupted.info.status == "KILLED"

    before = proven(own_store)
    resumed_sweep = sweep(*arguments, "--resume")
    assert resumed_sweep.verdicts == ["pass"] * 3
    assert {name: version for name, version in proven(own_store).items() if name != "Slow"} == before
    assert {r["run_id"] for r in resumed_sweep.results if r["name"] != "Slow"} == set(before.values())
    (resumed,) = parent_runs(own_store)
    assert resumed.info.run_id == interrupted.info.run_id
    assert resumed.info.status == "FINISHED"


def proven(client: mlflow.MlflowClient) -> dict[str, str]:
    """The run that proved each registered model's only version."""
    return {str(version.name): str(version.run_id) for version in client.search_model_versions()}
