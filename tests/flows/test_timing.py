"""How fast a file is: measured once for each version that is made, beside the verdict, and left out when asked."""

import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import mlflow
import pytest
import torch

from flows.command_line.export import main
from flows.export import ExportSpec, export_model
from tasks.core.errors import VerdictError
from tasks.mlflow_store.models import TREND_RUN
from tests.flows.in_process import Ran
from tests.models.tiny_models import Classifier

NAME = "timed"
DIGITS = ("digits", "--name", NAME)

pytestmark = [pytest.mark.usefixtures("store", "prefect_server"), pytest.mark.timed]


@pytest.fixture(scope="module")
def client(store: str) -> mlflow.MlflowClient:
    """Of the store."""
    return mlflow.MlflowClient(store)


def test_speed_is_told_wherever_a_version_is(call: Callable[..., Ran], client: mlflow.MlflowClient) -> None:
    """In the terminal, the JSON, the run's metrics, the trend over versions, the version's page and the report."""
    ran = call(main, *DIGITS)
    (result,) = ran.results
    latency = result["latency"]
    said = f"{latency['batch_size']}, {latency['threads']} thread"
    (line,) = (line for line in ran.out.splitlines() if line.startswith("  speed "))
    assert " ms by ONNX Runtime, " in line
    assert said in line
    metrics = client.get_run(result["run_id"]).data.metrics
    for metric, by in (("latency_ms", "onnx"), ("latency_torch_ms", "torch")):
        assert metrics[metric] == pytest.approx(latency[by]["median_ms"], rel=1e-3)
        trend = client.get_registered_model(NAME).tags[TREND_RUN]
        assert [(point.step, point.value) for point in client.get_metric_history(trend, metric)] == [
            (1, metrics[metric])
        ]
    assert f"* {line.strip().replace('speed    ', 'speed ')}" in client.get_model_version(NAME, "1").description
    report = mlflow.artifacts.load_text(f"runs:/{result['run_id']}/report.html")
    assert "<h2>Speed</h2>" in report
    assert line.strip().removeprefix("speed").strip() in report


def test_nothing_hangs_on_it(call: Callable[..., Ran], client: mlflow.MlflowClient) -> None:
    """What is unchanged is not timed again, with or without; a version that was never timed is unchanged, too."""
    call(main, *DIGITS)
    first, again = call(main, *DIGITS).results[0], call(main, *DIGITS, "--no-timing").results[0]
    assert first["unchanged"]
    assert again["unchanged"]
    assert again["latency"] == first["latency"]
    folder = Path(urlsplit(client.get_run(first["run_id"]).info.artifact_uri).path)
    records = json.loads((folder / "export.json").read_text())
    del records["latency"]  # as an older version of Assay wrote it
    (folder / "export.json").write_text(json.dumps(records))
    before = call(main, *DIGITS).results[0]
    assert (before["unchanged"], before["latency"]) == (True, None)


def test_it_is_left_out_when_asked(call: Callable[..., Ran], client: mlflow.MlflowClient) -> None:
    """No record, no metric, no line, no step."""
    ran = call(main, *DIGITS, "--force", "--no-timing")
    (result,) = ran.results
    assert (result["verdict"], result["latency"]) == ("pass", None)
    assert "measure_latency" not in result["seconds"]
    assert "speed" not in ran.out
    assert "latency_ms" not in client.get_run(result["run_id"]).data.metrics


def test_what_is_not_proven_is_not_timed() -> None:
    """Its speed would be of no use."""
    model = Classifier().eval()
    torch.nn.init.zeros_(model.head.weight)
    with pytest.raises(VerdictError) as wrong:
        export_model(ExportSpec(model=model, name="untimed", inputs=("image=float32[batch,3,8,8]",)))
    assert wrong.value.result.verdict == "inconclusive"
    assert wrong.value.result.latency is None
