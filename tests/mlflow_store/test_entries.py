"""What MLflow is told of an attempt fits what it can hold, and claims nothing too early."""

import math
from dataclasses import replace

import pytest

from tasks.core.provenance.attempts import Attempt
from tasks.core.records.steps import Weights
from tasks.core.reports.markdown import Context, describe
from tasks.core.spec.export_spec import ResolvedSpec
from tasks.mlflow_store import entries
from tests.core.reports.report_records import (
    FAIL,
    INCONCLUSIVE,
    make_evidence,
    make_family,
    make_graph,
    make_manifest,
    make_output,
)

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
    assert "not exported" in describe(ended, Context())
    assert entries.run_name(ended) == "✘ resnet18"
    assert entries.tags(ended)["assay.error"].startswith("ExportError: resnet18 found too little memory")


def test_long_values_are_cut(attempt: Attempt) -> None:
    """No tag is longer than MLflow takes, and no param."""
    many = tuple(GRAPH.outputs[0].model_copy(update={"name": f"output_{index}"}) for index in range(2000))
    wide = Attempt(SPEC, weights=WEIGHTS, graph=GRAPH.model_copy(update={"outputs": many}), evidence=EVIDENCE)
    assert max(map(len, entries.tags(wide).values())) == entries.MAX_TAG
    assert max(map(len, entries.params(wide).values())) == entries.MAX_PARAM


def test_the_name_of_a_run_tells_how_it_ended(attempt: Attempt) -> None:
    """The verdict's mark, the model, and the version or the file that somebody else made, without its folder."""
    assert entries.run_name(attempt, "4") == "✔ resnet18 v4"
    wrong = replace(attempt, evidence=FAIL, file="/home/me/theirs.onnx")
    assert entries.run_name(wrong) == "✘ resnet18 · theirs.onnx"
    assert entries.run_name(replace(attempt, evidence=INCONCLUSIVE)) == "? resnet18"


def test_a_version_has_few_tags(attempt: Attempt) -> None:
    """Five at most, each of which makes its row in the list higher; kinds of runs are told apart by one."""
    full = replace(attempt, manifest=make_manifest())
    found = entries.version_tags(full)
    assert found.keys() == {
        "assay.verdict", "assay.onnx_sha256", "assay.weights_sha256", "assay.inputs", "assay.outputs",
    }  # fmt: skip
    assert entries.tags(full)["assay.kind"] == "export"
    assert entries.tags(replace(full, file="theirs.onnx"))["assay.kind"] == "verification"


def test_compare_sees_weights_code_and_file(attempt: Attempt) -> None:
    """MLflow compares params, never tags: hashes of weights, file, model code and Assay's are among them."""
    sources = {"/home/me/net.py": "ab" * 32}
    before, now = (
        entries.params(replace(attempt, manifest=make_manifest(weights=weights, sources=sources, assay="c")))
        for weights in ("12" * 32, "34" * 32)
    )
    assert [key for key in now if now[key] != before[key]] == ["weights_sha256"]
    assert now["model_code"] == f"net.py {'ab' * 32}"
    assert (now["assay_code"], now["onnx_sha256"]) == ("c", GRAPH.sha256)


def test_nothing_compared_is_no_figure(attempt: Attempt) -> None:
    """A ratio of 0 or an agreement of 100 % would sort above every true one."""
    output = make_output("logits", make_family(num_elements=0, noise_ratio=0.0), top1_agreement=1.0)
    found = entries.metrics(replace(attempt, evidence=make_evidence(output, verdict="fail")))
    assert found.keys() == {"size_bytes", "num_nodes"}
    dead = make_evidence(make_output("logits", make_family(noise_ratio=0.0)), verdict="inconclusive")
    assert "noise_ratio" not in entries.metrics(replace(attempt, evidence=dead))
    equal = replace(attempt, evidence=make_evidence(make_output("ids", make_family(noise_ratio=0.0))))
    assert next(iter(entries.metrics(replace(equal, seconds={"fetch_weights": 1.0})))) == "noise_ratio"
    assert entries.metrics(equal)["noise_ratio"] == 0.0


def test_infinite_figures_can_be_stored(attempt: Attempt) -> None:
    """A ratio that is infinite or no number is logged as a number above all others."""
    outputs = tuple(output.model_copy(update={"noise_ratio": math.nan}) for output in EVIDENCE.outputs)
    wrong = Attempt(SPEC, graph=GRAPH, evidence=EVIDENCE.model_copy(update={"outputs": outputs}))
    found = entries.metrics(wrong)
    assert all(map(math.isfinite, found.values()))
    assert found[f"{EVIDENCE.outputs[0].name}/noise_ratio"] == 1e308
