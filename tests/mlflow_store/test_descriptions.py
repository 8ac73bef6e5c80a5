"""What a reader of MLflow's pages is told of models, versions and the experiment: a real store, filled by an export."""

import base64
import json
import re
import zlib
from typing import Any

import mlflow
import pytest
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion

from flows.export import ExportSpec, export_model
from tasks.core.records.steps import ExportResult
from tasks.core.reports.card import OWN_HEADING


def test_what_a_version_says_of_loading_it_is_true(version: ModelVersion) -> None:
    """The Python blocks of its description run as they are written, and give the outputs."""
    blocks = re.findall(r"```python\n(.*?)```", version.description, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        found: dict[str, Any] = {}
        exec(block, found)
        outputs = found["outputs"]
        logits = outputs["logits"] if isinstance(outputs, dict) else outputs[0]
        assert logits.shape == (1, 10)


def test_the_logged_model_knows_its_version(version: ModelVersion, client: mlflow.MlflowClient) -> None:
    """Else its page would say "Not registered" and offer to register it again; its description is the run's."""
    tags = client.get_logged_model(str(version.source).rpartition("/")[2]).tags
    assert json.loads(tags["mlflow.modelVersions"]) == [{"name": "digits", "version": "1"}]
    assert "✔ pass" in tags["mlflow.note.content"]


def test_the_models_page_leads_on(client: mlflow.MlflowClient, exported_digits: ExportResult) -> None:
    """The registered model's description links the newest version, the champion and the trend over the versions."""
    model = client.get_registered_model("digits")
    assert OWN_HEADING in model.description
    for label in ("Newest: version 1", "Champion: version 1", "Trend over the versions", "All runs"):
        assert f"[{label}](#/" in model.description
    trend = model.tags["assay.trend_run"]
    assert f"/runs/{trend}/model-metrics" in model.description
    for metric in ("noise_ratio", "size_bytes", "proof_coverage", "export_seconds"):
        (point,) = client.get_metric_history(trend, metric)
        assert point.step == 1
    assert client.get_metric_history(trend, "noise_ratio")[0].value == pytest.approx(
        exported_digits.evidence.noise_ratio, rel=1e-3
    )


def test_a_description_by_a_person_stays(client: mlflow.MlflowClient, exported_digits: ExportResult) -> None:
    """What somebody wrote of a model is not replaced by the next export."""
    before = client.get_registered_model("digits").description
    client.update_registered_model("digits", description="Ours.")
    export_model(ExportSpec(model="digits"), force=True)
    assert client.get_registered_model("digits").description == "Ours."
    client.update_registered_model("digits", description=before)


def test_the_experiment_has_a_view_that_tells_the_verdict(run: Run, client: mlflow.MlflowClient) -> None:
    """Its description leads to the saved view, whose columns are tags, metrics and params that runs have."""
    experiment = client.get_experiment(run.info.experiment_id)
    assert (
        f"#/experiments/{run.info.experiment_id}/runs?viewStateShareKey=assay" in experiment.tags["mlflow.note.content"]
    )
    view = json.loads(experiment.tags["mlflow.sharedViewState.assay"])
    state = json.loads(zlib.decompress(base64.b64decode(view["state"].removeprefix("deflate;"))))
    known = {"tags": run.data.tags, "metrics": run.data.metrics, "params": run.data.params}
    for column in state["selectedColumns"]:
        kind, _, name = column.partition(".")
        assert kind == "attributes" or name.strip("`") in known[kind]
