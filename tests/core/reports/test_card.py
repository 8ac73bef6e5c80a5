"""The card of a version answers a reviewer: is it right, what changed, from what, by whom, how to load it."""

from dataclasses import replace

import pytest

from tasks.core.provenance.attempts import Attempt
from tasks.core.provenance.comparison import contract_changes
from tasks.core.records.comparison import Drift, OutputDrift
from tasks.core.records.latency import Latency
from tasks.core.records.steps import Graph, TensorType
from tasks.core.reports.card import MAX_DESCRIPTION, OWN_HEADING, contract_sentence, model_page, version_card
from tasks.core.reports.markdown import Context
from tests.core.reports.report_records import make_attempt, make_evidence, make_graph, make_latency, make_manifest

AROUND = Context(user="ada", version="4", links=(("Report", "#/report"),))
GRAPH = make_graph()
RENAMED = GRAPH.model_copy(update={"inputs": (TensorType(name="picture", dtype="float32", dims=("batch", 1, 8, 8)),)})


def card_of(attempt: Attempt, graph: Graph = GRAPH, *, stays: str = "") -> str:
    """The card of version 4."""
    return version_card(attempt, graph, AROUND, stays=stays)


@pytest.fixture
def attempt() -> Attempt:
    """One whose version before is 3, with other weights and another PyTorch."""
    found = make_attempt(make_evidence())
    assert found.before is not None
    release = found.before.release.model_copy(update={"version": "3"})
    manifest = make_manifest(weights="12" * 32, spec='{"opset": 18}', versions={"torch": "2.13.0"})
    before = found.before.model_copy(update={"release": release, "manifest": manifest})
    return replace(found, before=before, manifest=make_manifest(spec='{"opset": 20}'))


def test_why_a_version_exists_stands_before_what_it_is(attempt: Attempt) -> None:
    """Each change with its values before and now, after the verdict."""
    text = card_of(attempt)
    order = ["✔ pass", "[Report]", "what changed since version 3:", "**This version:**", "* in  `image", "#### Load it"]
    assert [text.index(word) for word in order] == sorted(text.index(word) for word in order)
    assert "* spec.opset: `18` became `20`" in text
    assert "* weights: `121212121212` became `efefefefefef`" in text
    assert "* torch 2.13.0 -&gt; 2.14.0" in text
    assert "**How far outputs moved:** not measured (`assay compare digits/3 digits/4`)" in text
    assert "Changed contract" not in text


def test_a_changed_contract_is_flagged_first(attempt: Attempt) -> None:
    """Another name of an input is told with both, and why the champion stays."""
    stays = "champion stays at version 3, whose inputs are others"
    text = card_of(replace(attempt, graph=RENAMED), RENAMED, stays=stays)
    flagged = (
        "**✘ Changed contract:** inputs: `image: float32[batch, 1, 8, 8]` became "
        "`picture: float32[batch, 1, 8, 8]`. Code that uses version 3 has to change."
    )
    assert text.index(flagged) < text.index("**Why this version**")
    assert f"**{stays}.**" in text


def test_the_first_version_says_so() -> None:
    """There is nothing that it could be compared with."""
    assert "it is the first one" in card_of(replace(make_attempt(make_evidence()), before=None))


def test_an_input_that_is_gone_or_new_is_a_change() -> None:
    """Nothing on the other side is said in words; the order of names is none."""
    fewer = GRAPH.model_copy(update={"inputs": ()})
    (change,) = contract_changes(GRAPH, fewer)
    assert contract_sentence(change) == "inputs: `image: float32[batch, 1, 8, 8]` became nothing"
    assert contract_changes(GRAPH, GRAPH) == ()


def test_a_card_fits_every_database(attempt: Attempt) -> None:
    """With many long names what is to copy goes first, then the end."""
    names = {f"output_{index}_{'x' * 200}": "float32" for index in range(100)}
    graph = make_graph(**names)
    assert len(card_of(replace(attempt, graph=graph), graph)) <= MAX_DESCRIPTION
    assert len(card_of(attempt)) < MAX_DESCRIPTION


def test_a_models_page_says_that_its_weights_are_random() -> None:
    """And leads to the newest version, the champion and the trend."""
    links = (("Newest: version 4", "#/4"), ("Champion: version 3", "#/3"))
    text = model_page("net<1>", links=links, is_random=True)
    assert text.startswith(f"### net&lt;1&gt;: {OWN_HEADING}")
    assert "The weights are random" in text
    assert "[Newest: version 4](#/4) · [Champion: version 3](#/3)" in text
    assert "random" not in model_page("net", links=links, is_random=False)


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (make_latency(4.0, 6.0), "time of a run: 2 ms became 4 ms, 2 times as slow"),
        (make_latency(2.15, 6.0), ""),
        (make_latency(4.0, 6.0, cpu="another"), ""),
        (None, ""),
    ],
    ids=["slower", "within the intervals", "on another processor", "not timed"],
)
def test_a_slower_file_is_told(now: Latency | None, said: str, attempt: Attempt) -> None:
    """Where both versions were timed on equal terms, and differ by more than their intervals."""
    assert attempt.before is not None
    timed = attempt.before.model_copy(update={"latency": make_latency(2.0, 6.0)})
    text = card_of(replace(attempt, before=timed, latency=now))
    assert said in text
    assert ("time of a run" in text) == bool(said)


@pytest.mark.parametrize(
    ("drift", "said"),
    [
        (None, "not measured (`assay"),
        (Drift(reason="the store has <lost> it"), "the store has &lt;lost&gt; it (`assay"),
        (Drift(outputs=(OutputDrift(name="a", name_before="a", relative_rms=0.0, largest=0.0),), sizes=({}, {})),
         "not at all, over 2 inputs (`assay"),
        (Drift(outputs=(OutputDrift(name="a", name_before="a", relative_rms=0.25, largest=3.0),
                        OutputDrift(name="b", name_before="b", reason="its shape [1] became [2]")), sizes=({},)),
         r"`a` by 0.25 of its rms, 3 at most, `b` its shape \[1\] became \[2\], over 1 inputs"),
    ],
    ids=["none", "reason", "equal", "moved"],
)  # fmt: skip
def test_how_far_outputs_moved_is_told(drift: Drift | None, said: str, attempt: Attempt) -> None:
    """Each output that moved, or why that is not known; and the command that says more."""
    text = version_card(attempt, GRAPH, AROUND, stays="", drift=drift)
    assert f"**How far outputs moved:** {said}" in text
    assert "`assay compare digits/3 digits/4`" in text
