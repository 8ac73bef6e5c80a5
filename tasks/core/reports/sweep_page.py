"""Results of a sweep: table rows, the HTML page that MLflow shows, and a one-line summary."""

from collections import Counter
from collections.abc import Sequence
from typing import get_args

from rich.filesize import decimal

from tasks.core.records.steps import ExportResult, Verdict
from tasks.core.reports.markdown import bullets, escaped, link_line, shortened
from tasks.core.reports.pages import render
from tasks.core.reports.wording import VERDICT_MARKS


def table_rows(results: Sequence[ExportResult]) -> list[dict[str, str | float]]:
    """Make one row per model, keyed by column; models that are not proven come first."""
    ordered = sorted(results, key=lambda result: (result.verdict == "pass", result.name))
    return [
        {
            "model": result.name,
            "verdict": result.verdict,
            "noise ratio": _rounded(result.worst("noise_ratio")),
            "version": (result.release and result.release.version) or "",
            "size": decimal(result.graph.size_bytes) if result.graph else "",
            "seconds": "unchanged" if result.unchanged else round(sum(result.seconds.values()), 1),
            "exporter": result.graph.exporter if result.graph else "",
            "nodes": result.graph.num_nodes if result.graph else "",
            "slice ratio": _rounded(result.worst("slice_ratio")),
            "reason": "" if result.verdict == "pass" else result.reason,
        }
        for result in ordered
    ]


def html_page(results: Sequence[ExportResult], num_models: int) -> str:
    """Write one self-contained page: how many are proven, then a row per model with the reason if it is not.

    Args:
        results: of the models that are finished.
        num_models: of the whole sweep.
    """
    rows = table_rows(results)
    num_proven = sum(result.verdict == "pass" for result in results)
    return render(
        "comparison.html.j2",
        headline=headline(results, num_models),
        num_models=num_models,
        num_proven=num_proven,
        columns=[column for column in (rows[0] if rows else ()) if column != "reason"],
        rows=rows,
    )


def describe_sweep(results: Sequence[ExportResult], num_models: int, links: Sequence[tuple[str, str]]) -> str:
    """Markdown for the sweep's run: the counts, then a link to each model's page, first those that are not proven.

    Args:
        results: of the models that are finished, each with its page.
        num_models: of the whole sweep.
        links: label and address of pages around it.
    """
    ordered = sorted(results, key=lambda result: (result.verdict == "pass", result.name))
    lines = [
        f"### {headline(results, num_models)}",
        link_line(links),
        *bullets(f"{_linked(result)}: {escaped(result.reason)}" for result in ordered if result.verdict != "pass"),
        " · ".join(_linked(result) for result in ordered if result.verdict == "pass"),
    ]
    return shortened("\n\n".join(line for line in lines if line))


def _linked(result: ExportResult) -> str:
    """The mark and the name, as a link to the version or the run."""
    name = f"{VERDICT_MARKS[result.verdict][0]} {escaped(result.name)}"
    page = result.release.page.partition("/#/")[2] if result.release else ""
    return f"[{name}](#/{page})" if page else name


def headline(results: Sequence[ExportResult], num_models: int) -> str:
    """Count the verdicts, in one line.

    Args:
        results: of the models that are finished.
        num_models: of the whole sweep.
    """
    counts = Counter(result.verdict for result in results)
    said = [f"{counts[verdict]} {verdict}" for verdict in get_args(Verdict) if counts[verdict]]
    unchanged, missing = sum(result.unchanged for result in results), num_models - len(results)
    notes = (f" ({unchanged} of them unchanged)" if unchanged else "", f", {missing} not reached" if missing else "")
    return f"{num_models} models: {', '.join(said) or 'none finished'}{''.join(notes)}"


def _rounded(ratio: float | None) -> float | str:
    return "" if ratio is None else round(ratio, 2)
