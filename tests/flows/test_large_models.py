"""A model whose weights exceed protobuf's 2 GB: exported, proven, logged and read back, in bounded memory."""

import json
import sys
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import onnxruntime
import pytest
import torch

from tasks.core.onnx_files.lazy_reading import sidecars
from tests.benchmarks.processes import measure
from tests.models.wide_models import WideMLP

PROJECT = Path(__file__).parents[2]
MAX_PEAK = 2.9
"""Peak memory of the exporting process and ONNX Runtime's together, as a multiple of the weights."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of 2.28 GB."""
    path = tmp_path_factory.mktemp("weights") / "wide.pth"
    torch.manual_seed(0)
    torch.save(WideMLP().state_dict(), path)
    return path


@pytest.fixture(scope="module")
def exported(weights: Path, store: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path, int]:
    """The result as JSON, the folder of `-o`, and the peak memory in bytes."""
    folder = tmp_path_factory.mktemp("output")
    command = [sys.executable, str(PROJECT / "flows/export.py"), "tests.models.wide_models:WideMLP", "--name", "wide",
               "--weights", str(weights), "--input", "features=float32[batch,64]", "-o", f"{folder}/",
               "--json", str(folder / "result.json")]  # fmt: skip
    usage = measure(*command)
    print(f"peak {usage.peak_mib:.0f} MiB, with ONNX Runtime's process {usage.together_mib:.0f} MiB")
    (result,) = json.loads((folder / "result.json").read_text())["results"]
    return result, folder, usage.together_bytes


def test_it_is_proven_in_bounded_memory(exported: tuple[dict[str, Any], Path, int], weights: Path) -> None:
    """The verdict is `pass`, and export and proof take at most 2.9 times the weights."""
    result, _, peak_bytes = exported
    assert result["verdict"] == "pass"
    assert weights.stat().st_size > 2**31
    assert peak_bytes <= MAX_PEAK * weights.stat().st_size, f"{peak_bytes / weights.stat().st_size:.2f} times"


def test_it_is_read_back_with_its_sidecar(exported: tuple[dict[str, Any], Path, int], weights: Path) -> None:
    """MLflow's version and the file of `-o` both answer what PyTorch answers."""
    result, folder, _ = exported
    features = np.random.default_rng(0).standard_normal((3, 64)).astype(np.float32)
    module = WideMLP().eval()
    module.load_state_dict(torch.load(weights, mmap=True))
    with torch.no_grad():
        expected = module(torch.from_numpy(features)).numpy()
    del module
    path = folder / "wide.onnx"
    (sidecar,) = sidecars(path)
    assert (folder / sidecar).stat().st_size > 2**31
    (found,) = onnxruntime.InferenceSession(path).run(None, {"features": features})
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    loaded = mlflow.pyfunc.load_model(result["model_uri"]).predict({"features": features})
    np.testing.assert_array_equal(next(iter(loaded.values())), found)
