"""Prefect's run form: what it shows, and that submitting it untouched exports what the catalog says."""

from typing import Any

import pytest
from prefect import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.flow_engine import run_flow

from deployments.serve import make_deployments
from flows.export import export_model
from tasks.core.records.steps import ExportResult
from tasks.core.spec.catalog import read_catalog
from tasks.core.syntax import OPSETS


def posted(schema: dict[str, Any], definitions: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """What the form posts: what the deployment gives, and every other field that has a default, with it."""
    values = {}
    for name, field in schema["properties"].items():
        kind = definitions.get(str(field.get("$ref", "")).rpartition("/")[2])
        if kind is not None and "properties" in kind:
            values[name] = posted(kind, definitions, given.get(name, {}))
        elif name in given or "default" in field:
            values[name] = given.get(name, field.get("default"))
    return values


@pytest.fixture(scope="module")
def schema(prefect_server: str) -> dict[str, Any]:
    """Of the parameters of the deployment `digits`, as the server has it."""
    (deployment,) = make_deployments(["digits"])
    deployment_id = deployment.apply()
    with get_client(sync_client=True) as client:
        return {"id": deployment_id, **client.read_deployment(deployment_id).parameter_openapi_schema}


def test_the_form_offers_choices_and_nothing_internal(schema: dict[str, Any]) -> None:
    """Names of the catalog beside any other text, opsets within their bounds; no path of a machine, no MLflow run."""
    shown = {"spec", "force", "check", "verbose", "accept_contract", "timing"}
    assert schema["properties"].keys() == shown
    fields = schema["definitions"]["ExportSpec"]["properties"]
    listed, other = fields["model"]["anyOf"]
    assert listed["enum"] == list(read_catalog())
    assert other["type"] == "string"
    assert fields["model"]["default"] == "digits"
    assert (fields["opset"]["minimum"], fields["opset"]["maximum"]) == OPSETS
    assert fields["exporter"]["enum"] == ["auto", "dynamo", "torchscript"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"opset": 99}, "opset"), ({"exporter": "onnxscript"}, "exporter"), ({"colour": "red"}, "colour")],
)
def test_the_server_refuses_what_no_form_would_post(schema: dict[str, Any], wrong: dict[str, Any], said: str) -> None:
    """At once, not when a worker begins."""
    with get_client(sync_client=True) as client, pytest.raises(Exception, match=said):
        client.create_flow_run_from_deployment(schema["id"], parameters={"spec": {"model": "digits", **wrong}})


@pytest.mark.usefixtures("own_store")
def test_an_untouched_form_exports_what_the_catalog_says(schema: dict[str, Any]) -> None:
    """Its payload posts each default, `outputs: []` and `inputs: []` among them; none of them overrides the entry."""
    parameters = posted(schema, schema["definitions"], {"spec": {"name": "untouched"}})
    assert parameters["spec"]["model"] == "digits"
    assert parameters["spec"]["outputs"] == parameters["spec"]["inputs"] == []
    with get_client(sync_client=True) as client:
        flow_run = client.create_flow_run_from_deployment(schema["id"], parameters=parameters)
    result = run_flow(export_model, flow_run=flow_run, parameters=flow_run.parameters)
    assert isinstance(result, ExportResult)
    assert result.verdict == "pass"
    assert result.graph
    assert [str(value) for value in result.graph.inputs] == ["image: float32[batch, 1, 8, 8]"]
    assert [value.name for value in result.graph.outputs] == ["logits"]
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(flow_run.id)
        asked = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run.id]))
        artifacts = {artifact.key: artifact.data for artifact in client.read_artifacts(artifact_filter=asked)}
    assert run.state
    assert run.state.is_completed()
    assert run.name == "export-untouched"
    assert "untouched: ✔ pass" in artifacts["parity"]
    assert "[untouched version 1](" in artifacts["mlflow-version"]
    assert "/artifacts/report.html" in artifacts["report"]
