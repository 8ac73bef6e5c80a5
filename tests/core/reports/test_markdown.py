"""The Markdown beside a version says what it is and whether it may be used."""

import math

from tasks.core.records.steps import Weights
from tasks.core.reports.markdown import describe, parity_lines
from tests.core.reports.report_records import BLAME, FAIL, make_attempt, make_evidence, make_family, make_output


def test_a_proven_version_is_described() -> None:
    """Verdict, worst ratio with its limit, inputs, outputs, weights, hash, opset, exporter and size."""
    text = describe(make_attempt(make_evidence()))
    assert text.startswith("### digits: ✔ pass\n")
    for fact in (
        "1.10 of at most 8", "* in  `image: float32[batch, 1, 8, 8]`", "* out `logits: float32[batch, 10]`",
        "weights digits.pth, tensors `efefefefefefefef`", f"SHA-256 `{'ab' * 32}`",
        "opset 20, dynamo exporter, 12 nodes, 345.7 kB",
    ):  # fmt: skip
        assert fact in text
    assert "where:" not in text


def test_a_wrong_file_is_described_with_its_reasons() -> None:
    """Each reason and the node to blame stand before the inputs; random weights have no hash to name."""
    text = describe(make_attempt(FAIL, weights=Weights(kind="random", origin="random:0", seed=0)))
    before, _, after = text.partition("* in  ")
    assert "✘ fail" in before
    assert all(f"* {reason}" in before for reason in FAIL.reasons)
    assert f"* where: {BLAME.sentence}" in before
    assert "weights random:0, tensors `random`" in after


def test_the_parity_table_has_a_row_per_output_and_family() -> None:
    """A ratio of slices stands only where there are slices; NaN and infinity are shown."""
    evidence = make_evidence(
        make_output("a", make_family(), make_family("zeros", worst_slice="", slice_ratio=0.0)),
        make_output("b", make_family(noise_ratio=math.nan, max_abs_difference=math.inf)),
    )
    header, rule, *rows = parity_lines(evidence)
    assert header.count("|") == rule.count("|") == 8
    assert [row.split(" | ")[0] for row in rows] == ["| a", "| a", "| b"]
    assert "| normal (4) | 1.10 | 2.50 | 3.0e-06 |" in rows[0]
    assert "| zeros (4) | 1.10 | – |" in rows[1]
    assert "| nan | 2.50 | inf |" in rows[2]
