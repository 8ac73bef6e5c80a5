"""HTML page of one export, as MLflow shows it: the verdict first, then every number behind it."""

from pathlib import Path
from typing import Any

from markupsafe import Markup

from tasks.core.provenance.attempts import Attempt
from tasks.core.records.evidence import Evidence, OutputEvidence
from tasks.core.reports.error_plot import error_plot
from tasks.core.reports.graph_blocks import Blocks
from tasks.core.reports.graph_picture import graph_picture, operators_in_words
from tasks.core.reports.pages import render
from tasks.core.reports.wording import RANDOM_WEIGHTS, VERDICT_MARKS, latency_sentence, verdict_sentence
from tasks.core.spec.input_spec import FLOAT_DTYPES

_MANY_OUTPUTS = 4
"""With more than these only the wrong ones are unfolded."""


def html_report(attempt: Attempt, found: Blocks | None = None) -> str:
    """One self-contained page: verdict, parity per output, dims, keys, provenance; empty where there is no verdict.

    Args:
        attempt: with its evidence.
        found: its graph in blocks, to be drawn.
    """
    graph, evidence = attempt.graph, attempt.evidence
    if graph is None or evidence is None:
        return ""
    dtypes = {value.name: value.dtype for value in graph.outputs}
    outputs = [_output(output, evidence, dtypes.get(output.name, "float32")) for output in evidence.outputs]
    values = {
        **vars(attempt),
        "changes": attempt.changes,
        "random_weights": RANDOM_WEIGHTS,
        "file": Path(attempt.file).name if attempt.file else None,
        "provenance": {key.removeprefix("assay."): value for key, value in sorted(attempt.provenance.items())},
        "mark": VERDICT_MARKS[evidence.verdict],
        "sentence": verdict_sentence(evidence),
        "outputs": outputs,
        "picture": Markup(graph_picture(graph, found)) if found else "",
        "operators": operators_in_words(found.operators, 1000) if found else "",
        "speed": latency_sentence(attempt.latency) if attempt.latency else "",
        "unfold_all": len(outputs) <= _MANY_OUTPUTS,
    }
    return render("report.html.j2", **values)


def _output(output: OutputEvidence, evidence: Evidence, dtype: str) -> dict[str, Any]:
    """What the section of one output shows."""
    is_exact = dtype not in FLOAT_DTYPES  # integers and bools are equal or not; they have no scale of errors
    is_inside = output.noise_ratio <= evidence.noise_limit and output.slice_ratio <= evidence.slice_limit
    mark, colour = ("✔ within the limits", "good") if is_inside else ("✘ beyond the limits", "bad")
    if not output.is_compared:
        mark, colour = "– not compared", "doubt"
    plot = None if is_exact or not output.is_compared else error_plot(output.families, evidence.noise_limit)
    return {"evidence": output, "dtype": dtype, "is_exact": is_exact, "mark": mark, "colour": colour, "plot": plot}
