"""The picture of a graph is whole, names what is in it, and holds nothing foreign."""

import xml.etree.ElementTree as ET
from collections import Counter

from tasks.core.reports.export_page import html_report
from tasks.core.reports.graph_blocks import Block, Blocks
from tasks.core.reports.graph_picture import as_file, graph_picture, operators_in_words
from tests.core.reports.report_records import make_attempt, make_evidence, make_graph, make_report

HOSTILE = "<script>alert(1)</script>"
FOUND = Blocks(
    [
        Block("stem", Counter(Conv=1), 2400, {-1}),
        Block(HOSTILE, Counter(Relu=2, Add=1, Mul=1, Div=1), 0, {0}),
        Block("", Counter(Gemm=1), 100, {0, 1}),
    ],
    {2},
    Counter(Conv=1, Relu=2, Add=1, Mul=1, Div=1, Gemm=1),
)


def test_every_block_and_line_is_drawn() -> None:
    """A box a block, between those of inputs and outputs; a line for each value that flows between two of them."""
    picture = as_file(graph_picture(make_graph(), FOUND))
    root = ET.fromstring(picture)
    space = "{http://www.w3.org/2000/svg}"
    assert len(list(root.iter(f"{space}rect"))) == 5
    assert len(list(root.iter(f"{space}path"))) == 5
    texts = [text.text for text in root.iter(f"{space}text")]
    assert texts == [
        "inputs", "image: float32[batch, 1, 8, 8]", "stem", "1 Conv, 2.4 kB", HOSTILE, "2 Relu, 1 Add, 1 Mul, 1 more",
        "forward", "1 Gemm, 100 bytes", "outputs", "logits: float32[batch, 10]",
    ]  # fmt: skip
    height = float(root.attrib["viewBox"].split()[3])
    assert all(float(box.attrib["y"]) + float(box.attrib["height"]) <= height for box in root.iter(f"{space}rect"))


def test_the_report_holds_the_picture() -> None:
    """Within the page, with the number of nodes of each operator, nothing of which can run or load."""
    page = html_report(make_attempt(make_evidence()), FOUND)
    assert 'class="graph"' in page
    assert "2 Relu, 1 Conv, 1 Add, 1 Mul, 1 Div, 1 Gemm" in page
    assert "<script" not in page
    assert "http://" not in page
    assert "The graph" not in make_report(make_evidence())


def test_operators_are_named_by_number() -> None:
    """The most frequent first; the rest is counted."""
    assert operators_in_words(Counter(Add=3, Conv=5, Relu=1), 2) == "5 Conv, 3 Add, 1 more"
