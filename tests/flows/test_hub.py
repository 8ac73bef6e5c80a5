"""Models of the hub through the command line: what is stored, printed, exported, and what a hub refuses."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import mlflow
import onnx
import pytest

from flows.command_line.export import main
from tests.core.families.test_hub_models import files_of, put_timm
from tests.flows.in_process import Ran
from tests.models.tiny_transformers import bert
from tests.services.hub_server import HubServer

TOKEN = "hf_f0rNobodysEyes"
EXPORT = Path(__file__).parents[2] / "flows" / "export.py"
pytestmark = pytest.mark.slow


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("prefect_server")
def test_versions_follow_the_commit(
    hub: HubServer,
    call: Callable[..., Ran],
    store: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """An export by name; nothing new, nothing fetched; a moved branch is a version that says so; a token in nothing."""
    bert(tmp_path / "bert")
    files = files_of(tmp_path / "bert")
    first = hub.put("org/tiny", files)
    hub.token = TOKEN
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    ran = call(main, "hf:org/tiny", "-o", "tiny.onnx", "--verbose")
    (result,) = ran.results
    assert (ran.status, result["verdict"], result["version"]) == (0, "pass", "1"), ran.err
    model = mlflow.MlflowClient(store).get_model_version("tiny", "1")
    assert first in model.description
    said = {entry.key: entry.value for entry in onnx.load(tmp_path / "tiny.onnx").metadata_props}
    assert (said["assay.model"], said["assay.weights"]) == (f"hf:org/tiny@{first}", f"org/tiny@{first}")

    (tmp_path / "caches" / "hf").rename(tmp_path / "caches" / "gone")
    hub.requests.clear()
    again = call(main, "hf:org/tiny")
    assert again.results[0]["unchanged"]
    assert hub.fetched() == ["config.json"]

    moved = hub.put("org/tiny", {**files, "README.md": b"a better card"})
    ran = call(main, "hf:org/tiny")
    (result,) = ran.results
    assert (result["version"], result["unchanged"]) == ("2", False)
    assert result["reason"] == "changed: commit of org/tiny"
    page = mlflow.MlflowClient(store).get_model_version("tiny", "2").description
    assert f"commit of org/tiny: `hf:org/tiny@{first}` became `hf:org/tiny@{moved}`" in page
    for path in tmp_path_factory.getbasetemp().rglob("*"):
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes(), path
    assert TOKEN not in ran.out + ran.err


@pytest.mark.usefixtures("prefect_server", "store")
def test_timms_weights_are_proven_and_then_unchanged(hub: HubServer, call: Callable[..., Ran], tmp_path: Path) -> None:
    """With nothing else to say; the commit is asked for the next time, and nothing fetched."""
    put_timm(hub, tmp_path, "test_vit.r160_in1k")
    (result,) = call(main, "timm:test_vit").results
    assert (result["verdict"], result["version"]) == ("pass", "1"), result["reason"]
    hub.requests.clear()
    (again,) = call(main, "timm:test_vit").results
    assert again["unchanged"]
    assert hub.requests
    assert hub.fetched() == []


@pytest.mark.parametrize(
    ("switches", "environment", "status", "message"),
    [
        ({}, {}, 2, "has no model org/nought, or shows it to some only (404): check the name, or set HF_TOKEN"),
        ({"token": "another"}, {}, 2, "or shows it to some only (401): check the name, or set HF_TOKEN to a token"),
        ({"hangs": True}, {}, 3, "could not be reached for org/nought"),
        ({"hangs": True}, {"HF_HUB_OFFLINE": "1"}, 3, "is not in the cache"),
    ],
)
def test_what_is_wrong_is_told_in_time(
    switches: dict[str, object], environment: dict[str, str], status: int, message: str, hub: HubServer, tmp_path: Path
) -> None:
    """One line, within 15 seconds, that holds no token."""
    vars(hub).update(switches)
    if hub.token:
        hub.put("org/nought", {"config.json": b"{}"})
    started = time.monotonic()
    ran = subprocess.run(
        [sys.executable, EXPORT, "hf:org/nought"],
        env={**os.environ, **environment, "HF_TOKEN": TOKEN},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    seconds = time.monotonic() - started
    (line,) = ran.stderr.strip().splitlines()
    assert (ran.returncode, line.startswith("error: ")) == (status, True), ran.stderr
    assert message in line
    assert TOKEN not in ran.stdout + ran.stderr
    assert seconds < 15
