"""HTML page of a variant, and the list of all variants of a file: size, time and loss side by side."""

from collections.abc import Sequence

from rich.filesize import decimal

from tasks.core.records.variants import TradeOff, VariantEvidence
from tasks.core.reports.markdown import bullets, escaped
from tasks.core.reports.pages import render
from tasks.core.reports.variant_card import half_precision_only_casts
from tasks.core.reports.wording import VERDICT_MARKS

_KINDS = {
    "slim": "the same function in fewer nodes", "fp16": "half precision", "int8": "int8 weights, dynamic activations",
    "int8-static": "int8 weights and activations",
}  # fmt: skip


def variant_page(name: str, evidence: VariantEvidence, trade_offs: Sequence[TradeOff]) -> str:
    """One self-contained page: the claim first, the trade-off beside the other variants, then the four evidences.

    Args:
        name: of the variant.
        evidence: what was measured on it.
        trade_offs: the proven file, this variant and the others that are registered.
    """
    terms, said = evidence.terms, evidence.claim or "; ".join(evidence.reasons)
    rows = [
        {
            "name": row.name, "version": row.version, "mark": VERDICT_MARKS[row.verdict], "verdict": row.verdict,
            "is_this": row.name == name, "size": decimal(row.size_bytes), "figures": _figures(row),
            "share": row.size_bytes / max(evidence.source_bytes, 1),
        }
        for row in trade_offs
    ]  # fmt: skip
    return render(
        "variant.html.j2",
        name=name,
        evidence=evidence,
        terms=terms,
        kind=_KINDS[terms.kind],
        mark=VERDICT_MARKS[evidence.verdict],
        sentence=said[:1].upper() + said[1:],
        rows=rows,
        only_casts=half_precision_only_casts(evidence),
    )


def trade_off_lines(rows: Sequence[tuple[TradeOff, str]]) -> str:
    """The variants of a model, as Markdown: a line each, as MLflow leaves no room between the cells of tables.

    Args:
        rows: each with the address of its page.
    """
    lines = []
    for row, page in rows:
        time, _, high = _figures(row)
        said = [decimal(row.size_bytes)]
        said += [f"{time} a row"] if row.latency_ms is not None else []
        said += [f"loses at most {high} (95 %)"] if row.high is not None else []
        lines.append(f"[{escaped(row.name)} version {row.version}]({page}): {', '.join(said)}")
    return "\n".join(bullets(lines))


def _figures(row: TradeOff) -> list[str]:
    """Time, loss and its upper end, for a reader."""
    return [
        "-" if row.latency_ms is None else f"{row.latency_ms:.3g} ms",
        "-" if row.loss is None else f"{row.loss:.2%}",
        "-" if row.high is None else f"{max(row.high, 0):.2%}",
    ]
