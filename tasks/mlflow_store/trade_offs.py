"""All variants of a model, side by side: on each one's report, and on the page of the model that they are made of."""

from typing import get_args

import mlflow

from tasks.core.records.variants import Kind, TradeOff, VariantEvidence
from tasks.core.reports.card import OWN_HEADING
from tasks.core.reports.variant_page import trade_off_lines
from tasks.mlflow_store.pages import version_page
from tasks.mlflow_store.releases import version_at
from tasks.mlflow_store.shared_entries import write_shared
from tasks.mlflow_store.store import PROVEN

SOURCE = "assay.variant_of"
"""Tag of a version: `NAME version N` of the proven file."""
_HEADING = "**Smaller files made of it:**"


def trade_offs(client: mlflow.MlflowClient, name: str) -> list[TradeOff]:
    """The newest version of each variant of a model that is registered.

    Args:
        client: of the store.
        name: of the model.
    """
    found = list[TradeOff]()
    for kind in get_args(Kind):
        version = version_at(client, f"{name}-{kind}", PROVEN)
        if version is None or not version.tags.get(SOURCE, "").startswith(f"{name} version "):
            continue
        figures = client.get_run(str(version.run_id)).data.metrics
        found.append(
            TradeOff(
                name=version.name, version=str(version.version), verdict="pass",
                size_bytes=int(figures["size_bytes"]), latency_ms=figures.get("latency_ms"), loss=figures.get("loss"),
                high=figures.get("loss_high"),
            )
        )  # fmt: skip
    return found


def beside(client: mlflow.MlflowClient, name: str, evidence: VariantEvidence, *, version: str | None) -> list[TradeOff]:
    """A variant, the proven file that it is made of, and the other registered variants of that.

    Args:
        client: of the store.
        name: of the variant.
        evidence: what was measured on it.
        version: its number, if it is registered.
    """
    source = evidence.source_name
    before, now, loss = evidence.source_latency, evidence.latency, evidence.loss
    proven = TradeOff(
        name=source or "the proven file", version=evidence.source_version, verdict="pass",
        size_bytes=evidence.source_bytes, latency_ms=before.median_ms if before else None,
    )  # fmt: skip
    own = TradeOff(
        name=name, version=version, verdict=evidence.verdict, size_bytes=evidence.size_bytes,
        latency_ms=now.median_ms if now else None, loss=loss.loss if loss else None, high=loss.high if loss else None,
    )  # fmt: skip
    others = [other for other in trade_offs(client, source) if other.name != name] if source else []
    return [proven, *sorted([own, *others], key=lambda row: -row.size_bytes)]


def show_trade_offs(client: mlflow.MlflowClient, name: str) -> None:
    """Put the list of its variants onto the page of a model that Assay described.

    Args:
        client: of the store.
        name: of the model that variants are made of, which exists.
    """
    before = client.get_registered_model(name).description or ""
    if OWN_HEADING not in before or not (found := trade_offs(client, name)):
        return
    lines = trade_off_lines([(row, version_page(row.name, str(row.version))) for row in found])
    now = f"{before.partition(_HEADING)[0].rstrip()}\n\n{_HEADING}\n\n{lines}"
    if now != before:
        write_shared(client.update_registered_model, name, now)
