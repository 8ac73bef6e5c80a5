"""A result as JSON is what strict readers of JSON take."""

import json

from flows.outcomes import flattened
from tasks.core.records.steps import ExportResult
from tests.core.reports.report_records import make_evidence, make_family, make_graph, make_output


def test_figures_that_are_not_finite_are_strings() -> None:
    """`Infinity` and `NaN` are no JSON; MLflow's pages and other languages refuse them."""
    output = make_output("logits", make_family(noise_ratio=float("inf"), slice_ratio=float("nan")))
    result = ExportResult(name="tiny", verdict="fail", graph=make_graph(), evidence=make_evidence(output))
    content = flattened(result)
    (family,) = content["parity"]["logits"]["families"]
    assert (family["noise_ratio"], family["slice_ratio"]) == ("Infinity", "NaN")
    assert json.loads(json.dumps(content, allow_nan=False)) == content
