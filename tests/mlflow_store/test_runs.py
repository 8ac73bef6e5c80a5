"""What MLflow holds after an export is what users rely on: a real store, filled through the flow."""

import getpass
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import mlflow
import numpy as np
import onnx
import pytest
import torch
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion

from deployments.digits.model import DigitsCNN
from flows.export import ExportSpec, export_model
from tasks.core.errors import ServiceError, WeightsError
from tasks.core.hashes import file_sha256
from tasks.core.records.steps import ExportResult
from tasks.mlflow_store.proven import find_proven
from tasks.mlflow_store.store import connect

ROOT = Path(__file__).parents[2]
DIGITS = ROOT / "deployments" / "digits"
CHAMPION = "models:/digits@champion"


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Digits that the model has not seen, float32 [64, 1, 8, 8]."""
    return np.load(DIGITS / "samples.npz")["image"]


@pytest.fixture(scope="module")
def expected(images: np.ndarray) -> np.ndarray:
    """What PyTorch answers, float32 [64, 10]."""
    model = DigitsCNN().eval()
    model.load_state_dict(torch.load(DIGITS / "digits.pth", weights_only=True))
    with torch.no_grad():
        return model(torch.from_numpy(images)).numpy()


@pytest.mark.parametrize("as_dict", [False, True], ids=["array", "dict"])
def test_the_champion_predicts_what_pytorch_predicts(
    version: ModelVersion, images: np.ndarray, expected: np.ndarray, as_dict: bool
) -> None:
    """`mlflow.pyfunc.load_model` of the champion reads the digits as PyTorch does, from an array or by input name."""
    answer = mlflow.pyfunc.load_model(CHAMPION).predict({"image": images} if as_dict else images)
    assert list(answer) == ["logits"]
    np.testing.assert_array_equal(answer["logits"].argmax(1), expected.argmax(1))
    np.testing.assert_allclose(answer["logits"], expected, rtol=1e-4, atol=1e-4)


def test_the_champion_is_an_onnx_model(version: ModelVersion) -> None:
    """`mlflow.onnx.load_model` gives a valid proto whose own metadata names the weights it was made from."""
    model = mlflow.onnx.load_model(CHAMPION)
    onnx.checker.check_model(model, full_check=True)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert metadata["assay.weights_sha256"] == version.tags["assay.weights_sha256"]
    assert metadata["assay.weights"] == "digits.pth"
    assert str(ROOT) not in json.dumps(metadata)


def test_the_signature_has_names_and_dynamic_dims(version: ModelVersion) -> None:
    """The signature says name, dtype and dims of inputs and outputs, -1 where any size will do."""
    signature = mlflow.models.get_model_info(CHAMPION).signature
    for schema, name, shape in ((signature.inputs, "image", (-1, 1, 8, 8)), (signature.outputs, "logits", (-1, 10))):
        (tensor,) = schema.inputs
        assert (tensor.name, tensor.type, tensor.shape) == (name, np.dtype("float32"), shape)


def test_one_hash_everywhere(
    version: ModelVersion, run: Run, client: mlflow.MlflowClient, exported_digits: ExportResult, tmp_path: Path
) -> None:
    """The registered bytes, the tags, the result and `export.json` all have one SHA-256."""
    folder = Path(mlflow.artifacts.download_artifacts(CHAMPION, dst_path=str(tmp_path)))
    found = file_sha256(folder / "model.onnx")
    record = mlflow.artifacts.load_dict(f"runs:/{run.info.run_id}/export.json")
    assert found == exported_digits.graph.sha256
    assert found == file_sha256(exported_digits.onnx_path or Path())
    assert found == version.tags["assay.onnx_sha256"]
    assert found == run.data.tags["assay.onnx_sha256"]
    assert found == client.get_logged_model(run.outputs.model_outputs[0].model_id).tags["assay.onnx_sha256"]
    assert found == record["graph"]["sha256"]


def test_the_run_says_what_was_exported(run: Run, exported_digits: ExportResult) -> None:
    """Params, tags and metrics carry names, dims, opset, exporter, versions, origin, hashes, parity and times."""
    params, tags, metrics = run.data.params, run.data.tags, run.data.metrics
    assert params["model"] == "model.py:DigitsCNN"
    assert params["weights"] == "digits.pth"
    assert params["opset"] == "20"
    assert params["exporter"] == exported_digits.graph.exporter
    assert params["inputs"] == "image: float32[batch, 1, 8, 8]"
    assert params["outputs"] == "logits: float32[batch, 10]"
    assert params["version.torch"] == importlib.metadata.version("torch")
    assert tags["assay.verdict"] == "pass"
    assert params["weights_sha256"] == exported_digits.weights_sha256
    assert params["onnx_sha256"] == exported_digits.graph.sha256
    assert ", model.py " in params["model_code"]
    assert tags["mlflow.user"] == getpass.getuser()
    assert tags["mlflow.source.name"]
    assert tags["assay.weights_file_sha256"] == file_sha256(DIGITS / "digits.pth")
    assert tags["assay.weights_sha256"] == exported_digits.weights_sha256
    assert len(tags["assay.fingerprint"]) == 64
    assert metrics["logits/noise_ratio"] == pytest.approx(exported_digits.parity["logits"].noise_ratio)
    assert metrics["logits/top1_agreement"] == metrics["proof_coverage"] == 1.0
    assert {f"seconds/{step}" for step in exported_digits.seconds} - {"seconds/log_export"} <= metrics.keys()


def test_runs_are_found_where_users_look(run: Run, client: mlflow.MlflowClient) -> None:
    """The experiment is `onnx-exports`, the run is finished, and a report and the records lie with it."""
    assert client.get_experiment(run.info.experiment_id).name == "onnx-exports"
    assert (run.info.status, run.info.run_name) == ("FINISHED", "✔ digits v1")
    assert run.data.tags["assay.kind"] == "export"
    assert {file.path for file in client.list_artifacts(run.info.run_id)} >= {"export.json", "report.html", "graph.svg"}


def test_the_version_has_a_readable_description(version: ModelVersion) -> None:
    """The version's page says the verdict, the inputs and outputs with their dims, opset, hash, maker and links."""
    for fact in (
        "### digits v1: ✔ pass", "image: float32[batch, 1, 8, 8]", "logits: float32[batch, 10]", "opset 20",
        "it is the first one", f"made by {getpass.getuser()} on ", "weights digits.pth", "#### Load it",
        f"/runs/{version.run_id}/artifacts/report.html?workflowType=machine_learning", "viewStateShareKey=assay",
    ):  # fmt: skip
        assert fact in version.description
    assert version.tags["assay.onnx_sha256"] in version.description
    assert len(version.tags) == 5


def test_a_failed_attempt_leaves_a_failed_run(
    client: mlflow.MlflowClient, exported_digits: ExportResult, tmp_path: Path
) -> None:
    """An export that fails leaves a FAILED run that says why, and registers nothing."""
    weights = tmp_path / "wrong.pth"
    torch.save({"some.weight": torch.zeros(3)}, weights)
    with pytest.raises(WeightsError) as caught:
        export_model(ExportSpec(model="digits", name="broken", weights=str(weights)))
    run = client.get_run(str(caught.value.run_id))
    assert run.info.status == "FAILED"
    assert run.data.tags["assay.error"] == f"WeightsError: {caught.value}"
    assert run.data.tags["assay.verdict"] == "error"
    assert not client.search_registered_models("name='broken'")


def test_unchanged_adds_nothing(client: mlflow.MlflowClient, exported_digits: ExportResult, tmp_path: Path) -> None:
    """A second export of the same adds no run and no version, names the first one, and still writes the file."""
    before = _count(client)
    result = export_model(ExportSpec(model="digits"), output=tmp_path / "digits.onnx")
    assert _count(client) == before
    assert result.unchanged
    assert (result.release.run_id, result.release.version) == (
        exported_digits.release.run_id,
        exported_digits.release.version,
    )
    assert str(exported_digits.release.run_id) in result.reason
    assert file_sha256(tmp_path / "digits.onnx") == exported_digits.graph.sha256


def test_a_forced_export_of_equal_content_adds_a_run_but_no_version(
    client: mlflow.MlflowClient, exported_digits: ExportResult
) -> None:
    """`--force` proves it again in a run of its own; equal bytes stay the version they are."""
    num_runs, num_versions = _count(client)
    result = export_model(ExportSpec(model="digits"), force=True)
    assert _count(client) == (num_runs + 1, num_versions)
    assert result.release.run_id != exported_digits.release.run_id
    assert result.release.version == exported_digits.release.version
    assert result.graph.sha256 == exported_digits.graph.sha256


def test_a_dead_tracking_server_is_named_soon(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tracking server that does not answer gives a ServiceError after one further try, not MLflow's seven."""
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)
    connect()
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "1"
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # they wait for seconds
    mlflow.set_tracking_uri("http://127.0.0.1:9")
    try:
        with pytest.raises(ServiceError, match=r"127\.0\.0\.1:9.*MLFLOW_TRACKING_URI"):
            find_proven("digits")
    finally:
        mlflow.set_tracking_uri(store)


_EIGHT = """
import multiprocessing, pathlib, time
import mlflow.store.model_registry.sqlalchemy_store, mlflow.store.tracking.sqlalchemy_store  # once, before the forks
from tasks.mlflow_store import store

def connect():
    client = store.connect()
    client.create_run(store.experiment_id_of(client))

if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=connect) for _ in range(8)]
    folder = store.MLFLOW_DATABASE.parent
    assert folder == pathlib.Path.cwd(), folder  # the copy, never the project
    (folder / "mlflow.db.part").write_text("left by a process that was killed while it made the store")
    for process in processes:
        process.start()
        while not (folder / "mlflow.db.lock").exists():  # the others come while the first one makes the store
            time.sleep(0.001)
        time.sleep(0.05)
    for process in processes:
        process.join()
    (experiment,) = store.connect().search_experiments(filter_string="name='onnx-exports'")
    print([process.exitcode for process in processes], experiment.artifact_location)
"""


@pytest.mark.slow
def test_eight_processes_may_make_the_store(tmp_path: Path) -> None:
    """Eight processes that start on a store that does not exist yet all succeed; it lies beside the project."""
    shutil.copytree(ROOT / "tasks", tmp_path / "tasks", ignore=shutil.ignore_patterns("__pycache__"))
    env = {key: value for key, value in os.environ.items() if "MLFLOW" not in key} | {"PYTHONPATH": str(tmp_path)}
    found = subprocess.run(
        [sys.executable, "-c", _EIGHT], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    location = (tmp_path / "mlruns" / "onnx-exports").as_uri()
    assert found.stdout.strip() == f"{[0] * 8} {location}", found.stderr[-2000:]
    assert sorted(path.name for path in tmp_path.glob("mlflow*")) == ["mlflow.db", "mlflow.db.lock"]


@pytest.mark.slow
def test_the_champion_can_be_served(
    exported_digits: ExportResult, start_service: Callable[..., str], images: np.ndarray, expected: np.ndarray
) -> None:
    """`mlflow models serve` answers /invocations with PyTorch's answers."""
    # it starts uvicorn by name: a virtual environment that is not activated has to be found
    env = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    arguments = ["models", "serve", "-m", CHAMPION, "--env-manager", "local", "-p", "{port}"]
    address = start_service("mlflow", *arguments, ready="/ping", env=env)
    answer = httpx.post(f"{address}/invocations", json={"inputs": {"image": images[:5].tolist()}}, timeout=60)
    logits = np.array(answer.json()["predictions"]["logits"], np.float32)
    np.testing.assert_allclose(logits, expected[:5], rtol=1e-4, atol=1e-4)


def _count(client: mlflow.MlflowClient) -> tuple[int, int]:
    """Runs in the experiment, and versions of digits."""
    experiment = client.get_experiment_by_name("onnx-exports")
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    return len(runs), len(client.search_model_versions("name='digits'"))
