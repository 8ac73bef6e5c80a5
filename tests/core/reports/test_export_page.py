"""The report is read in a browser: it must hold together, hold nothing foreign, and say the verdict first."""

import math
import re
from html.parser import HTMLParser

import pytest

from tasks.core.records.evidence import (
    BlockPower,
    Coverage,
    Detections,
    Evidence,
    FamilyParity,
    MissingWeight,
    OutputEvidence,
    Power,
    ProbeRecord,
)
from tasks.core.spec.export_spec import ResolvedSpec
from tests.core.reports.report_records import (
    BLAME,
    EVERY,
    FAIL,
    INCONCLUSIVE,
    make_evidence,
    make_family,
    make_graph,
    make_latency,
    make_manifest,
    make_output,
    make_report,
)

HOSTILE = "<script>alert(1)</script>"
_VOID = {"meta", "br"}


class _Page(HTMLParser):
    """Reads a page: its text in order, its tags with attributes, and any tag that is not closed as it was opened."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts))


@pytest.mark.parametrize("evidence", EVERY.values(), ids=EVERY.keys())
def test_the_page_is_whole_and_needs_nothing_else(evidence: Evidence) -> None:
    """Every tag is closed, and nothing is loaded from elsewhere: no script, link, image, import or url()."""
    text = make_report(evidence)
    page = _Page(text)
    assert text.startswith("<!doctype html>")
    assert not {tag for tag, _ in page.tags} & {"script", "link", "img", "iframe", "object", "embed", "base", "use"}
    assert not [attrs for _, attrs in page.tags if attrs.keys() & {"src", "href", "srcset", "data"}]
    assert not re.search(r"url\(|@import|https?://", text)


@pytest.mark.parametrize(
    ("evidence", "mark", "sentence"),
    [
        (EVERY["pass"], "✔ pass", "its largest error is 1.1 times what float32 rounding alone explains (limit 8)."),
        (FAIL, "✘ fail", "The file does not compute what the PyTorch model computes."),
        (INCONCLUSIVE, "? inconclusive", "the file is not proven"),
    ],
)
def test_the_verdict_comes_first(evidence: Evidence, mark: str, sentence: str) -> None:
    """The mark, the sentence and every reason stand in the page's body before its first table."""
    body = make_report(evidence).partition("<body>")[2]
    before = body.partition("<table>")[0]
    assert mark in before
    assert sentence in before
    assert all(reason in before for reason in evidence.reasons)


def test_a_failure_says_where() -> None:
    """The page of a wrong file names the node, its module, line and parameter, both values and the files to rerun."""
    text = _Page(make_report(FAIL)).text
    for fact in (
        "Where it goes wrong", BLAME.sentence, "node_conv2d_1", "Conv", "features.3", "torch.nn.Conv2d",
        "digits/model.py:21", "features.3.weight", "12,345 times", "0.5, NaN", "0.125, -3.00e-9",
        "reproduction/", "culprit.onnx", "inputs.npz", "expected.npz", "reproduce.py",
    ):  # fmt: skip
        assert fact in text
    assert "Where it goes wrong" not in _Page(make_report(make_evidence())).text


def test_an_engineer_finds_every_number() -> None:
    """Parity, power, dims, probes, keys, provenance, versions and times are all on the page."""
    scored = make_output(
        top1_agreement=0.999, top1_flip_margin=2e-7, top5_agreement=0.98, mask_iou=0.97,
        detections=Detections(num_reference=40, num_matched=38, num_excused=2, num_unmatched=0, lowest_iou=0.93),
    )  # fmt: skip
    text = _Page(make_report(make_evidence(scored))).text
    for fact in (
        "2.20e-7", "2.00e-7", "axis 1, index 4", "1,200", "51,234 times the noise (normal)", "25 % exactly zero",
        "99.9 % of the rows", "2.00e-7 of the output's rms", "98 %", "97 %", "38 of 40", "1, 2, 5", "off, all",
        "image: float32[batch, 1, 8, 8]", "first choice of auto", "a note on the file", "8 , with 34,826", "m.* -> *",
        "cd" * 32, "ef" * 32, "ab" * 32, "torch 2.13.0 -> 2.14.0", "2.14.0", "3.25 s",
    ):  # fmt: skip
        assert fact.replace(" ,", ",") in text


def test_a_mute_block_is_marked() -> None:
    """A residual block below the limit is marked; its neighbour is not."""
    text = _Page(make_report(INCONCLUSIVE)).text
    assert "2 in all, 1 of them mute" in text
    assert text.count("mute: below 100") == 1


def test_weights_that_are_not_in_the_file_are_listed() -> None:
    """With how much of them no probe exercised; constants that are no weight are named."""
    missing = MissingWeight(name="fc.weight", num_elements=5120, num_missing=512, num_unexercised=2, first=(1, 7))
    coverage = Coverage(num_weights=3, identical=2, missing=(missing,), unexplained=("their_own",), share=0.75)
    text = _Page(make_report(INCONCLUSIVE.model_copy(update={"coverage": coverage}))).text
    assert "Proof coverage 75 %: 2 of 3 weights are in the file: 2 identical" in text
    assert "fc.weight 5,120 512 2 1, 7" in text
    assert "their_own" in text


def test_integers_are_equal_or_not() -> None:
    """An integer output gets words instead of a plot of an infinite ratio."""
    equal = make_output("ids", make_family(noise_ratio=0.0, relative_error=0.0))
    differing = make_output("ids", make_family(noise_ratio=math.inf, relative_error=0.031, mismatched_share=0.031))
    for output, words in ((equal, "normal: equal"), (differing, "normal: 3.1 % differ")):
        page = _Page(make_report(make_evidence(output), graph=make_graph(ids="int64")))
        assert words in page.text
        assert not [attrs for tag, attrs in page.tags if tag == "svg" and attrs.get("class") == "plot"]


def test_a_wrong_slice_is_seen_in_the_plot() -> None:
    """Where the whole output is within its limit and one slice is not, the plot's row says so."""
    output = make_output("boxes", make_family(slice_ratio=54321.0), slice_ratio=54321.0)
    text = _Page(make_report(make_evidence(output, verdict="fail", reasons=("boxes at axis 1",)))).text
    assert "a slice: 54,321 ×" in text
    assert "beyond the limits" in text


@pytest.mark.parametrize("families", [(), (make_family(num_elements=0, noise_ratio=0.0),)], ids=["none", "empty"])
def test_an_output_that_was_not_compared_does_not_agree(families: tuple[FamilyParity, ...]) -> None:
    """Where the structure is wrong, or nothing is finite, there are no figures, and the page claims none."""
    output = OutputEvidence(
        name="logits", noise_ratio=0.0, slice_ratio=0.0, max_abs_difference=0.0, cosine=1.0, families=families,
        power=Power(movement=0.0, finite=True, num_elements=0), top1_agreement=1.0, top5_agreement=1.0, mask_iou=1.0,
    )  # fmt: skip
    other = output.model_copy(update={"name": "boxes"})
    evidence = make_evidence(output, other, verdict="fail", reasons=("logits is int64 in the file",), dims=())
    text = _Page(make_report(evidence)).text
    assert "not compared" in text
    for claim in ("✔", "0 ×", "100 %", "within"):
        assert claim not in text


def test_what_changed_is_told_with_its_values() -> None:
    """The section on why this version exists has a row an entry: before, and now."""
    text = _Page(make_report(make_evidence())).text
    assert "changed before now torch 2.13.0 -> 2.14.0 2.13.0 2.14.0" in text


def test_speed_is_a_table_with_its_terms() -> None:
    """Both medians, bars in proportion, the processor as text, the shapes; or why there is none."""
    text = make_report(make_evidence(), latency=make_latency(2.0, 8.0))
    page = _Page(text)
    assert "2 ms by ONNX Runtime, 8 ms by PyTorch: 4 times as fast" in page.text
    assert "on a CPU <1> when this was exported, 2 threads each" in page.text
    assert "image[1, 1, 8, 8]" in page.text
    assert ("width: 60px" in text, "width: 240px" in text) == (True, True)
    untimed = make_latency(1.0, 1.0, reason="too dear").model_copy(update={"onnx": None, "torch": None})
    assert "Not timed: too dear." in _Page(make_report(make_evidence(), latency=untimed)).text


def test_names_cannot_run() -> None:
    """Names, notes and reasons that hold a script are shown as text."""
    spec = ResolvedSpec(model="m", name="m", weights="random").model_copy(update={"name": HOSTILE})
    evidence = make_evidence(
        make_output(HOSTILE, make_family(HOSTILE, worst_slice=HOSTILE)),
        verdict="fail", reasons=(HOSTILE,), notes=(HOSTILE,), skipped=(HOSTILE,),
        blame=BLAME.model_copy(update={"node": HOSTILE, "sentence": HOSTILE, "module_path": HOSTILE}),
        blocks=(BlockPower(path=HOSTILE, source=HOSTILE, movement=1.0),),
        probes=(ProbeRecord(family=HOSTILE, seed=0, sizes={HOSTILE: 1}, levels=("all",)),),
    )  # fmt: skip
    text = make_report(
        evidence, spec=spec, graph=make_graph(**{HOSTILE: "float32"}), file=f"/home/me/{HOSTILE.replace('/', '')}",
        manifest=make_manifest(weights=HOSTILE, versions={HOSTILE: HOSTILE}), seconds={HOSTILE: 1.0},
    )  # fmt: skip
    assert not [tag for tag, _ in _Page(text).tags if tag == "script"]
    assert text.count("&lt;script&gt;") > 15


def test_a_file_made_by_others_is_named() -> None:
    """The heading says which file was verified, without its folder."""
    text = make_report(make_evidence(), file="/home/me/theirs.onnx")
    assert "verified file theirs.onnx" in text
    assert "/home/me" not in text
