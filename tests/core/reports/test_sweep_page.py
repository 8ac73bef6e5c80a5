"""The table of a sweep: what is not proven comes first, and says why."""

import math

from tasks.core.records.steps import ErrorRecord, ExportResult, Release
from tasks.core.reports.sweep_page import describe_sweep, headline, html_page, table_rows
from tests.core.reports.report_records import make_evidence, make_graph, make_output

PROVEN = ExportResult(
    name="alexnet", verdict="pass", graph=make_graph(), evidence=make_evidence(make_output(noise_ratio=1.2345)),
    release=Release(run_id="1", model_uri="models:/alexnet/3", version="3", version_url="http://ui/#/models/alexnet/versions/3"),
    seconds={"export_onnx": 1.25, "validate_onnx": 2.5},
)  # fmt: skip
KNOWN = PROVEN.model_copy(update={"name": "known", "unchanged": True})
WRONG = ExportResult(
    name="resnet18", verdict="fail", reason="<logits> is off", graph=make_graph(),
    evidence=make_evidence(make_output(noise_ratio=math.nan), verdict="fail", reasons=("<logits> is off",)),
)  # fmt: skip
LOST = ExportResult(
    name="vit", verdict="error", reason="vit was lost", error=ErrorRecord(type="CrashError", message="vit was lost")
)
RESULTS = [PROVEN, WRONG, KNOWN, LOST]


def test_what_is_not_proven_comes_first() -> None:
    """Then by name; the reason stands with those alone."""
    rows = table_rows(RESULTS)
    assert [row["model"] for row in rows] == ["resnet18", "vit", "alexnet", "known"]
    assert [row["reason"] for row in rows] == ["<logits> is off", "vit was lost", "", ""]


def test_a_row_has_every_figure() -> None:
    """Ratios with two digits, size, nodes, exporter, seconds of all steps, the version; blank where there is none."""
    wrong, lost, proven, known = table_rows(RESULTS)
    assert (proven["noise ratio"], proven["slice ratio"], proven["size"], proven["nodes"]) == (
        1.23,
        2.5,
        "345.7 kB",
        12,
    )
    assert (proven["exporter"], proven["seconds"], proven["version"]) == ("dynamo", 3.8, "3")
    assert known["seconds"] == "unchanged"
    assert math.isnan(float(wrong["noise ratio"]))
    assert [lost[column] for column in ("noise ratio", "size", "nodes", "exporter", "version")] == [""] * 5


def test_the_headline_counts_every_verdict() -> None:
    """And what is unchanged, and what was not reached."""
    said = headline(RESULTS, 6)
    assert said == "6 models: 2 pass, 1 fail, 1 error (1 of them unchanged), 2 not reached"
    assert headline([], 3) == "3 models: none finished, 3 not reached"


def test_the_page_is_proven_only_if_every_model_is() -> None:
    """Its heading says so, every row is there, and names can't run."""
    page = html_page(RESULTS, 4)
    assert '<header class="fail">' in page
    assert "2 of 4 proven" in page
    assert "&lt;logits&gt; is off" in page
    assert "<logits>" not in page
    assert '<header class="pass">' in html_page([PROVEN, KNOWN], 2)
    assert '<header class="fail">' in html_page([PROVEN, KNOWN], 3), "one was not reached"


def test_the_description_leads_to_each_model() -> None:
    """What is not proven comes first, with its reason; a link leads to the version, none where there is no page."""
    text = describe_sweep(RESULTS, 6, (("Table with a filter", "#/table"),))
    assert text.startswith("### 6 models: 2 pass, 1 fail, 1 error (1 of them unchanged), 2 not reached\n\n")
    assert "[Table with a filter](#/table)" in text
    assert "* ✘ resnet18: &lt;logits&gt; is off" in text
    assert "[✔ alexnet](#/models/alexnet/versions/3) · [✔ known](#/models/alexnet/versions/3)" in text
    assert text.index("✘ vit") < text.index("✔ alexnet")


def test_a_long_description_is_cut_between_links() -> None:
    """MLflow would cut it anywhere."""
    many = [PROVEN.model_copy(update={"name": f"model{index}"}) for index in range(500)]
    text = describe_sweep(many, 500, ())
    assert len(text) <= 7502
    assert text.endswith("/versions/3) …")


def test_many_rows_have_a_filter() -> None:
    """A few need none."""
    many = [PROVEN.model_copy(update={"name": f"model{index}"}) for index in range(13)]
    assert 'type="search"' in html_page(many, 13)
    assert "<script" not in html_page(RESULTS, 4)
