"""What MLflow is told of an attempt fits what it can hold, and claims nothing too early."""

import math

import pytest

from tasks.core.provenance.attempts import Attempt
from tasks.core.records.steps import Weights
from tasks.core.reports.markdown import describe
from tasks.core.spec.export_spec import ResolvedSpec
from tasks.mlflow_store import entries
from tests.core.reports.report_records import make_evidence, make_graph

EVIDENCE, GRAPH = make_evidence(), make_graph(logits="float32")
WEIGHTS = Weights(kind="random", origin="random:0", seed=0)
SPEC = ResolvedSpec(model="resnet18", name="resnet18", weights="random")


@pytest.fixture
def attempt() -> Attempt:
    """One that came to its verdict."""
    return Attempt(SPEC, weights=WEIGHTS, graph=GRAPH, evidence=EVIDENCE)


def test_tags_claim_no_verdict(attempt: Attempt) -> None:
    """The verdict is a tag of its own, which is written after the last check."""
    assert entries.VERDICT not in entries.tags(attempt)


def test_an_error_is_what_the_reader_is_told_of(attempt: Attempt) -> None:
    """Of an attempt that an error ended, description and tags say so, though there is evidence."""
    ended = attempt.ended_by(MemoryError())
    assert ended.verdict == "error"
    assert "not exported" in describe(ended)
    assert entries.tags(ended)["assay.error"].startswith("ExportError: resnet18 found too little memory")


def test_long_values_are_cut(attempt: Attempt) -> None:
    """No tag is longer than MLflow takes, and no param."""
    many = tuple(GRAPH.outputs[0].model_copy(update={"name": f"output_{index}"}) for index in range(2000))
    wide = Attempt(SPEC, weights=WEIGHTS, graph=GRAPH.model_copy(update={"outputs": many}), evidence=EVIDENCE)
    assert max(map(len, entries.tags(wide).values())) == entries.MAX_TAG
    assert max(map(len, entries.params(wide).values())) == entries.MAX_PARAM


def test_infinite_figures_can_be_stored(attempt: Attempt) -> None:
    """A ratio that is infinite or no number is logged as a number above all others."""
    outputs = tuple(output.model_copy(update={"noise_ratio": math.nan}) for output in EVIDENCE.outputs)
    wrong = Attempt(SPEC, graph=GRAPH, evidence=EVIDENCE.model_copy(update={"outputs": outputs}))
    found = entries.metrics(wrong)
    assert all(map(math.isfinite, found.values()))
    assert found[f"{EVIDENCE.outputs[0].name}/noise_ratio"] == 1e308
