"""The Markdown beside a run says what it is and whether it may be used, and Markdown eats none of it."""

import math

from tasks.core.records.evidence import Evidence
from tasks.core.records.steps import Weights
from tasks.core.reports.markdown import Context, describe, parity_lines
from tests.core.reports.report_records import (
    BLAME,
    FAIL,
    make_attempt,
    make_evidence,
    make_family,
    make_graph,
    make_output,
)

AROUND = Context(
    user="ada", commit="0123456789abcdef", version="4", links=(("Report", "#/report"), ("All runs", "#/runs"))
)


def test_a_proven_file_is_described() -> None:
    """Verdict, error with its limit, links, inputs, outputs, weights, maker, hash, opset, exporter and size."""
    text = describe(make_attempt(make_evidence(), started_ms=1_700_000_000_000), AROUND)
    assert text.startswith("### digits v4: ✔ pass\n")
    for fact in (
        "its largest error is 1.1 times what float32 rounding alone explains (limit 8)",
        "[Report](#/report) · [All runs](#/runs)",
        "* in  `image: float32[batch, 1, 8, 8]`", "* out `logits: float32[batch, 10]`",
        f"weights digits.pth, tensors `efefefefefefefef`, file SHA-256 `{'cd' * 32}`",
        "made by ada on 2023-11-14 22:13 UTC, commit `0123456789ab`", f"file SHA-256 `{'ab' * 32}`",
        "opset 20, dynamo exporter, 12 nodes, 345.7 kB",
    ):  # fmt: skip
        assert fact in text
    assert "where:" not in text
    assert "random" not in text


def test_a_wrong_file_is_described_with_its_reasons() -> None:
    """Each reason and the node to blame stand before the inputs; that weights are random is said."""
    weights = Weights(kind="random", origin="random:0", seed=0)
    text = describe(
        make_attempt(FAIL.model_copy(update={"random_weights": True}), weights=weights, file="/home/me/theirs.onnx"),
        AROUND,
    )
    before, _, after = text.partition("* in  ")
    assert text.startswith("### digits v4 · theirs.onnx: ✘ fail")
    assert "Do not use it." in before
    assert "The weights are random" in before
    assert "**Why:** logits is off by 5.43e+04 times the noise of float32 (normal; limit 8). **Where:** The w" in before
    assert BLAME.sentence in before.partition("[Report]")[0]
    assert "Worst noise ratio 54321.00 of at most 8" in before
    assert "weights random:0, tensors `efefefefefefefef`" in after
    assert "/home/me" not in text


def test_markdown_eats_no_name() -> None:
    """What looks like a tag, emphasis, a link, a table or code in a reason or a name is shown as it is."""
    hostile = "<OpOverload(op='aten.sym_size', overload='int')> in *a* [b](c) | `d`\n# e"
    evidence = FAIL.model_copy(update={"reasons": (hostile,), "blame": None})
    graph = make_graph(**{"a`b<c>": "float32"})
    text = describe(make_attempt(evidence, graph=graph), AROUND)
    expected = r"&lt;OpOverload(op='aten.sym\_size', overload='int')&gt; in \*a\* \[b\](c) \| \`d\` \# e"
    assert f"**Why:** {expected}.\n" in text
    assert "* out `a'b<c>: float32[batch, 10]`" in text  # nothing in code is a tag


def test_an_error_is_told_as_it_is() -> None:
    """An attempt without a verdict says what ended it, and who made it."""
    attempt = make_attempt(make_evidence()).ended_by(ValueError("bad <graph>"))
    text = describe(attempt, AROUND)
    assert text.startswith("### digits: ✘ not exported\n")
    assert "bad &lt;graph&gt;" in text
    assert "made by ada" in text
    verified = make_attempt(make_evidence(), file="theirs.onnx").ended_by(ValueError("no graph"))
    assert describe(verified, AROUND).startswith("### digits · theirs.onnx: ✘ not verified\n")


def test_where_nothing_was_compared_no_figure_is_shown() -> None:
    """No ratio of 0, which would look best of all."""
    text = describe(make_attempt(_not_compared()), AROUND)
    assert "No output was compared, so no error was measured." in text
    assert "0.00" not in text


def test_many_inputs_and_reasons_are_cut() -> None:
    """The list stays readable, and says where the rest is."""
    evidence = FAIL.model_copy(update={"reasons": tuple(f"reason {index}" for index in range(100))})
    graph = make_graph(**{f"output_{index}": "float32" for index in range(100)})
    text = describe(make_attempt(evidence, graph=graph), AROUND)
    assert "out 92 more, which the report lists" in text
    assert len(text) < 3000


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


def _not_compared() -> Evidence:
    return make_evidence(
        make_output("logits", make_family(num_elements=0, noise_ratio=0.0)),
        verdict="fail", reasons=("logits is int64 in the file",),
    )  # fmt: skip
