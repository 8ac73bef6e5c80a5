"""What Prefect's page of a sweep shows, on a real server."""

import json
from typing import Any

import httpx
from prefect import flow
from prefect.settings import PREFECT_LOGGING_TO_API_ENABLED, temporary_settings

from flows.sweep_artifacts import shown
from tasks.core.records.steps import ExportResult

RESULTS = [ExportResult(name="right", verdict="pass"), ExportResult(name="wrong", verdict="fail", reason="it is off")]


def artifacts_of(server: str, *, is_watched: bool) -> dict[str, Any]:
    """By key, of a flow that adds two results, one of which is not proven."""
    added: list[ExportResult] = []

    @flow
    def sweep() -> str:
        with shown(added.append, 2) as add:
            for result in RESULTS:
                add(result)
        from prefect.context import FlowRunContext

        context = FlowRunContext.get()
        assert context
        assert context.flow_run
        return str(context.flow_run.id)

    with temporary_settings({PREFECT_LOGGING_TO_API_ENABLED: is_watched}):
        run = sweep()
    assert added == RESULTS
    asked = {"artifacts": {"flow_run_id": {"any_": [run]}}}
    return {artifact["key"]: artifact for artifact in httpx.post(f"{server}/artifacts/filter", json=asked).json()}


def test_a_sweep_shows_how_far_it_is_and_a_table(prefect_server: str) -> None:
    """All models done, and a row each with the reason, what is not proven first."""
    found = artifacts_of(prefect_server, is_watched=True)
    assert found["sweep-progress"]["data"] == 100.0
    assert found["sweep-progress"]["description"] == "2 of 2 models"
    rows = json.loads(found["sweep-results"]["data"])
    assert [(row["model"], row["verdict"], row["reason"]) for row in rows] == [
        ("wrong", "fail", "it is off"),
        ("right", "pass", ""),
    ]


def test_a_temporary_server_is_not_bothered(prefect_server: str) -> None:
    """Nobody looks at its pages."""
    assert artifacts_of(prefect_server, is_watched=False) == {}
