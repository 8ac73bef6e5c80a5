"""A sweep's results side by side: the rows of its table, and the same as text."""

from collections import Counter
from collections.abc import Sequence
from typing import get_args

from rich.filesize import decimal

from tasks.core.records import ExportResult, Verdict

COLUMNS = ("model", "verdict", "unchanged", "noise ratio", "slice ratio", "size", "nodes", "exporter", "seconds",
           "version", "reason")  # fmt: skip


def table_rows(results: Sequence[ExportResult]) -> dict[str, list[object]]:
    """The table by column, a row a model: first those that are not proven."""
    ordered = sorted(results, key=lambda result: (result.verdict == "pass", result.name))
    rows = [
        (
            result.name,
            result.verdict,
            "yes" if result.unchanged else "",
            _rounded(result.worst("noise_ratio")),
            _rounded(result.worst("slice_ratio")),
            decimal(result.size_bytes) if result.size_bytes else "",
            result.num_nodes or "",
            result.exporter or "",
            round(sum(result.seconds.values()), 1),
            result.model_uri or "",
            "" if result.verdict == "pass" else result.reason,
        )
        for result in ordered
    ]
    return {column: [row[index] for row in rows] for index, column in enumerate(COLUMNS)}


def table_lines(results: Sequence[ExportResult]) -> list[str]:
    """The table in Markdown."""
    rows = zip(*table_rows(results).values(), strict=True)
    cells = [[str(cell).replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    return [
        f"| {' | '.join(COLUMNS)} |",
        f"|{'---|' * len(COLUMNS)}",
        *(f"| {' | '.join(row)} |" for row in cells),
    ]


def headline(results: Sequence[ExportResult], num_models: int) -> str:
    """How many of them came out how, in one line."""
    counts = Counter(result.verdict for result in results)
    said = [f"{counts[verdict]} {verdict}" for verdict in get_args(Verdict) if counts[verdict]]
    unchanged = sum(result.unchanged for result in results)
    unchanged_note = f" ({unchanged} of them unchanged)" if unchanged else ""
    missing = num_models - len(results)
    return f"{num_models} models: {', '.join(said) or 'none finished'}{unchanged_note}" + (
        f", {missing} not reached" if missing else ""
    )


def _rounded(ratio: float | None) -> float | str:
    return "" if ratio is None else round(ratio, 2)
