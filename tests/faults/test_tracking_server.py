"""A tracking server that hangs, fails or dies is told soon, and takes no finished export with it. Real sockets."""

import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import mlflow
import pytest

from flows.export import ExportSpec, export_model
from tasks.core.errors import ServiceError
from tasks.mlflow_store.proven import find_proven
from tests.faults.tracking_proxy import TrackingProxy, tracking_proxy
from tests.models import tiny_models

TOLD_SECONDS = 15.0


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a command has it, whatever earlier tests set."""
    for name in ("MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_HTTP_REQUEST_MAX_RETRIES"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Lets this process use a tracking server for the test."""
    before = mlflow.get_tracking_uri()

    def use(address: str) -> None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        mlflow.set_tracking_uri(address)

    yield use
    mlflow.set_tracking_uri(before)


@pytest.mark.usefixtures("patience")
@pytest.mark.parametrize(
    "fault", ["500", "429", "503", "garbage", "dies", pytest.param("hangs", marks=pytest.mark.slow)]
)
def test_a_server_that_fails_is_told_in_a_sentence(fault: str, use: Callable[[str], None]) -> None:
    """Within 15 s, whatever it asks to wait for."""
    with tracking_proxy() as proxy:
        proxy.fault = fault
        use(proxy.address)
        started = time.monotonic()
        with pytest.raises(ServiceError) as caught:
            find_proven("digits")
        seconds = time.monotonic() - started
    said = str(caught.value)
    assert seconds < TOLD_SECONDS
    assert proxy.address in said
    assert "MLFLOW_TRACKING_URI" in said
    assert len(said) <= 500
    assert "\n" not in said


@pytest.fixture(scope="module")
def server_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a tracking server keeps all."""
    folder: Path = tmp_path_factory.mktemp("server")
    return folder


@pytest.fixture(scope="module")
def server(start_service: Callable[..., str], server_folder: Path) -> str:
    """A real tracking server."""
    folder = server_folder
    arguments = ["server", "--port", "{port}", "--workers", "1", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    return start_service("mlflow", *arguments, "--artifacts-destination", str(folder / "files"), ready="/health")


@pytest.mark.slow
@pytest.mark.usefixtures("patience")
def test_a_finished_export_outlives_the_server(
    server: str,
    server_folder: Path,
    prefect_server: str,
    use: Callable[[str], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    assay_log: list[logging.LogRecord],
) -> None:
    """The sentence names the folder; the next run logs what lies there and exports nothing; no password is stored."""
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    model = f"{tiny_models.__file__}:Classifier"
    spec = ExportSpec(
        model=model, name="outlives", inputs=("image=float32[batch,3,8,8]",), weights="as-built", exporter="torchscript"
    )

    def export_amid(proxy: TrackingProxy, fault: str) -> str:
        proxy.fault, proxy.failing = fault, "logged-models"
        with pytest.raises(ServiceError) as caught:
            export_model(spec)
        proxy.fault = ""
        return str(caught.value)

    with tracking_proxy(server) as proxy:
        use(proxy.address.replace("//", "//me:s3cret@"))
        said = export_amid(proxy, "dies")
        (kept,) = (tmp_path / "cache/finished").iterdir()
        assert f"the finished export is kept in {kept}" in said
        result = export_model(spec)
        assert (result.verdict, result.release and result.release.version) == ("pass", "1")
        assert not kept.exists()
        steps = [getattr(record, "step", None) for record in assay_log]
        assert steps.count("export_onnx") == 2, "it begins and ends once"
        scratch = tmp_path / "scratch"
        scratch.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(scratch))
        assert export_model(spec, check=True, output=tmp_path / "out.onnx").unchanged
        assert (tmp_path / "out.onnx").is_file()
        assert not list(scratch.iterdir()), "what was fetched is removed"
    texts = {str(path): path.read_bytes() for path in server_folder.rglob("*") if path.is_file()}
    texts |= {"file": (tmp_path / "out.onnx").read_bytes(), "said": said.encode()}
    texts["result"] = result.model_dump_json().encode()
    texts["log"] = "\n".join(record.getMessage() for record in assay_log).encode()
    for kind in ("flow_runs", "task_runs", "artifacts", "logs"):
        answer = httpx.post(f"{prefect_server}/{kind}/filter", json={"limit": 200})
        texts[f"prefect {kind}"] = answer.raise_for_status().content
    assert len(texts) > 8
    assert [place for place, text in texts.items() if b"s3cret" in text] == []
