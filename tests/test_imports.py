"""The import contracts of pyproject.toml hold, and refuse each kind of import that they forbid."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = "Imports run one way: deployments, flows, tasks"
TASKS = "A step imports no other step; the store of MLflow, core only; core, none of them"
ROOMS = "Rooms of core import downwards only, from floor to floor"
CORE = "Core knows neither Prefect nor MLflow"
MLFLOW = "MLflow is imported in its store only, and by the fetcher of weights"
STORE = "The store of MLflow does without Prefect"


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source tree and its contracts."""
    folder = tmp_path_factory.mktemp("tree")
    for name in ("tasks", "flows", "deployments"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.pth", "*.npz"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def test_the_tree_keeps_all_contracts(copy: Path) -> None:
    """As it stands, no import breaks a contract."""
    lint = _lint(copy)
    assert lint.returncode == 0, lint.stdout
    assert "0 broken" in lint.stdout


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("tasks/planted.py", "from flows.export import export_model", LAYERS),
        ("tasks/core/records/planted.py", "import flows.outcomes", LAYERS),
        ("flows/planted.py", "def late(): import deployments.serve", LAYERS),
        ("tasks/core/planted/__init__.py", "", ROOMS),
        ("tasks/core/records/planted.py", "from tasks.core.proof import verdict", ROOMS),
        ("tasks/core/spec/planted.py", "import tasks.core.runtime.memory", ROOMS),
        ("tasks/core/inputs/planted.py", "if TYPE_CHECKING:\n    from tasks.core.reports import pages", ROOMS),
        ("tasks/core/proof/planted.py", "import tasks.validate_onnx", TASKS),
        ("tasks/core/reports/planted.py", "from tasks.mlflow_store import store", TASKS),
        ("tasks/mlflow_store/planted.py", "from tasks import fetch_weights", TASKS),
        ("tasks/planted.py", "from tasks.create_inputs import create_inputs", TASKS),
        ("tasks/core/planted.py", "import prefect", CORE),
        ("tasks/core/runtime/planted.py", "def late(): from prefect_dask import DaskTaskRunner", CORE),
        ("tasks/core/weights/planted.py", "from mlflow.artifacts import download_artifacts", CORE),
        ("flows/processes/planted.py", "def late(): import mlflow", MLFLOW),
        ("deployments/planted.py", "import mlflow.pyfunc", MLFLOW),
        ("tasks/planted.py", "from mlflow import MlflowClient", MLFLOW),
        ("tasks/mlflow_store/planted.py", "from prefect import task", STORE),
    ],
)  # fmt: skip
def test_a_forbidden_import_is_refused(copy: Path, module: str, line: str, contract: str) -> None:
    """A new module with an import upwards, sideways, or of a library that is not its own breaks the contract."""
    planted = copy / module
    is_new_room = not planted.parent.exists()
    planted.parent.mkdir(exist_ok=True)
    planted.write_text(f'"""Planted."""\n{line}\n')
    try:
        lint = _lint(copy)
    finally:
        shutil.rmtree(planted.parent) if is_new_room else planted.unlink()
    assert lint.returncode == 1
    assert f"{contract} BROKEN" in lint.stdout
    assert module.removesuffix("/__init__.py").removesuffix(".py").replace("/", ".") in lint.stdout


def _lint(folder: Path) -> "subprocess.CompletedProcess[str]":
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--no-logo"]
    environment = {"PYTHONPATH": str(folder), "PYTHONSAFEPATH": "", "COLUMNS": "200"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)
