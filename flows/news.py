"""Somebody is told when an export fails, its verdict turns, or `champion` moves.

`ASSAY_WEBHOOK` is sent each as JSON; a Prefect server that is configured gets an event, for its automations
(deployments/automations.yaml).
"""

import logging
import os
from collections.abc import Iterator
from typing import Any

import httpx
from prefect.client.schemas.objects import FlowRun, State
from prefect.events import emit_event
from prefect.exceptions import CrashedRun, MissingResult
from prefect.settings import PREFECT_UI_URL

from flows.outcomes import failed
from flows.processes.prefect_address import is_watched
from tasks.core.errors import AssayError, CrashError, as_assay_error
from tasks.core.records.record import Record
from tasks.core.records.steps import ExportResult
from tasks.core.spec.resolve import make_spec
from tasks.mlflow_store.changes import Changes, note_changes

log = logging.getLogger("assay")

FAILED, TURNED, MOVED = "assay.export.failed", "assay.verdict.turned", "assay.champion.moved"
"""Names of Prefect's events, and `event` of the webhook's JSON."""
_SECONDS = 10.0


class News(Record):
    """What the webhook gets, and the payload of Prefect's event."""

    event: str
    text: str
    """One sentence, which Slack and others show."""
    model: str
    verdict: str
    reason: str
    version: str | None
    url: str
    """Page of the version, or of the run, in MLflow; else of the flow run in Prefect; empty where there is none."""


def tell(flow: Any, flow_run: FlowRun, state: State[Any]) -> None:
    """Tell what is new about an export that ended, if anybody listens; a hook of the flow.

    Args:
        flow: `export_model`.
        flow_run: called `export-NAME`.
        state: that it ended in. Where its process died a worker calls this, and Prefect has an event of its own.
    """
    address = os.environ.get("ASSAY_WEBHOOK")
    if not address and not is_watched():
        return
    for news in _news_of(_result_of(state, _title_of(flow_run))):
        news = news.model_copy(update={"url": news.url or _page_of(flow_run)})
        if is_watched() and not state.is_crashed():
            resource = {"prefect.resource.id": f"assay.model.{news.model}", "prefect.resource.name": news.model}
            emit_event(news.event, resource=resource, payload=news.model_dump())
        if address:
            _post(address, news)


def _title_of(flow_run: FlowRun) -> str:
    """Title of the spec; a worker knows the flow run as it was before it had its name."""
    prefix, _, title = flow_run.name.partition("export-")
    if prefix or not title:
        return make_spec(**flow_run.parameters["spec"]).title
    return title


def _page_of(flow_run: FlowRun) -> str:
    """Address of a flow run in Prefect's pages; empty where no server keeps it."""
    return f"{PREFECT_UI_URL.value()}/runs/flow-run/{flow_run.id}" if is_watched() else ""


def _result_of(state: State[Any], name: str) -> ExportResult:
    try:
        found = state.result(raise_on_failure=False)
    except MissingResult:
        found = CrashedRun(state.message)
    if isinstance(found, CrashedRun):
        found = CrashError(f"{name} crashed. {state.message or 'Its process died.'}")
    if isinstance(found, ExportResult):
        return found
    result: ExportResult | None = getattr(found, "result", None)
    return result or failed(name, as_assay_error(found, name))


def _news_of(result: ExportResult) -> Iterator[News]:
    """What is worth telling, the worst first."""
    try:
        changes = note_changes(result.name, result.verdict)
    except AssayError as error:
        log.warning("%s", error)
        changes = Changes()
    facts = {
        "model": result.name,
        "verdict": result.verdict,
        "reason": result.reason,
        "version": result.release and result.release.version,
        "url": result.release.page if result.release else "",
    }
    if result.verdict != "pass":
        yield News(event=FAILED, text=f"{result.name}: {result.verdict}. {result.reason}", **facts)
    if before := changes.verdict_before:
        text = f"{result.name}: the verdict turned from {before} to {result.verdict}. {result.reason}"
        yield News(event=TURNED, text=text, **facts)
    if changes.champion:
        before = f"from version {changes.champion_before} " if changes.champion_before else ""
        text = f"{result.name}: champion moved {before}to version {changes.champion}. {result.reason}"
        yield News(event=MOVED, text=text, **facts | {"version": changes.champion})


def _post(address: str, news: News) -> None:
    try:
        httpx.post(address, json=news.model_dump(), timeout=_SECONDS).raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        # an address often is a secret, and the text of some errors has it
        said = error.response.status_code if isinstance(error, httpx.HTTPStatusError) else type(error).__name__
        log.warning("ASSAY_WEBHOOK did not take the news of %s (%s).", news.model, said)
