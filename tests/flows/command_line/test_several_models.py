"""Several models in one flows/export.py: each in a process of its own, whatever happens to the others."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import psutil
import pytest

from flows.command_line.export import main
from tests.flows.in_process import Ran

PROJECT = Path(__file__).resolve().parents[3]
MANY = f"{PROJECT}/tests/models/many_models.py"
PECULIAR = f"{PROJECT}/tests/models/peculiar_models.py"
INPUT = ("--input", "x=float32[batch,6]", "--weights", "random")


def command(*models: str) -> list[str]:
    """The command line."""
    return [sys.executable, str(PROJECT / "flows/export.py"), *models, *INPUT]


def results(folder: Path) -> dict[str, dict[str, Any]]:
    """What the JSON says of each model."""
    return {result["name"]: result for result in json.loads((folder / "out.json").read_text())["results"]}


def work_folders(scratch: Path) -> list[Path]:
    """Temporary folders of exports; that of the memory reservations stays."""
    return [path for path in scratch.glob("assay-*") if not path.name.startswith("assay-memory-")]


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_server", "own_store")
def test_what_a_models_code_does_stays_with_it(tmp_path: Path) -> None:
    """Neither a patched PyTorch nor a crash, an exit or prints reach the next model's proof, or the JSON.

    One file crashes even the process that imports it; the others are shown step by step, and delivered.
    """
    (tmp_path / "dies.py").write_text("import ctypes\n\nctypes.string_at(0)\n")
    errors = ("Segfault", "Net", "Exits", "Leaves", "Interrupts")
    names = ("Patches", *errors, "Prints", "Relu")
    files = {"Segfault": MANY, "Net": "dies.py"}
    asked = [f"{files.get(name, PECULIAR)}:{name}" for name in names]
    process = subprocess.run(
        [*command(*asked), "--json", "-", "-o", "out/"], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    found = {result["name"]: result for result in json.loads(process.stdout)["results"]}
    assert tuple(found) == names, "in the order asked"
    assert {found[name]["verdict"] for name in errors} == {"error"}
    assert "SIGSEGV" in found["Segfault"]["reason"]
    assert "loading Net: its process was killed by SIGSEGV" in found["Net"]["reason"]
    assert "ended by its own code" in found["Leaves"]["reason"]
    assert found["Prints"]["verdict"] == found["Relu"]["verdict"] == "pass"
    assert process.returncode == 2, "a model that raises is bad input"
    proven = [name for name, result in found.items() if result["verdict"] == "pass"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(f"{name}.onnx" for name in proven)
    assert all(result["run_id"] for result in found.values()), "each attempt has a run, crashed ones, too"
    assert process.stderr.count("validate_onnx") >= len(proven)
    assert "Traceback" not in process.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_server", "own_store")
def test_bad_input_among_several_is_said_before_any_is_exported(call: Callable[..., Ran]) -> None:
    """One sentence about the model that does not exist, exit status 2, nothing done."""
    ran = call(main, f"{MANY}:Net0", f"{MANY}:Absent", *INPUT)
    assert ran.status == 2
    assert "Absent" in ran.sentence
    assert "validate_onnx" not in ran.out


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_server")
def test_an_interruption_leaves_nothing_behind(
    tmp_path: Path, own_store: mlflow.MlflowClient, request: pytest.FixtureRequest
) -> None:
    """After Ctrl-C amid the second model the first stays proven; no process, work folder or running run is left."""
    flag, scratch = tmp_path / "flag", Path(tempfile.mkdtemp())  # short, as a socket's address is
    request.addfinalizer(lambda: shutil.rmtree(scratch))
    environment = {**os.environ, "SLOW_MODEL_FLAG": str(flag), "SLOW_MODEL_SECONDS": "100", "TMPDIR": str(scratch)}
    with subprocess.Popen(
        [*command(f"{MANY}:Net0", f"{MANY}:Slow"), "--json", "out.json"],
        cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, start_new_session=True,
    ) as export:  # fmt: skip
        deadline = time.monotonic() + 200
        while not flag.exists():
            assert time.monotonic() < deadline
            assert export.poll() is None
            time.sleep(0.2)
        assert work_folders(scratch), "of the export under way"
        children = psutil.Process(export.pid).children(recursive=True)
        os.killpg(export.pid, signal.SIGINT)
        assert export.wait(60) == 130
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive
    assert not work_folders(scratch)
    assert {name: result["verdict"] for name, result in results(tmp_path).items()} == {"Net0": "pass"}
    experiment = own_store.get_experiment_by_name("onnx-exports")
    assert experiment is not None
    runs = own_store.search_runs([experiment.experiment_id])
    assert {run.info.status: run.data.tags.get("assay.error", "") for run in runs} == {
        "FINISHED": "",
        "KILLED": "InterruptError: Slow was interrupted.",
    }
