"""Every planned probe is compared, or skipped for a reason that is told."""

from pathlib import Path

import pytest
import torch

from tasks.core.arrays import Array
from tasks.core.inputs.probes import Probe
from tasks.core.proof import run
from tasks.core.proof.validation import validate
from tests.core.proof.proving import IMAGE, Exported, exported
from tests.models.tiny_models import Classifier


class NeedsLight(Classifier):
    """Refuses a picture that is all black."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Score an image."""
        if not torch.jit.is_tracing() and not image.any():
            raise ValueError("too dark")
        return super().forward(image)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A true file."""
    return exported(Classifier(), IMAGE, tmp_path_factory.mktemp("classifier"), exporter="torchscript")


def test_a_probe_that_the_module_refuses_is_skipped_and_told(tmp_path: Path) -> None:
    """Zeros need not be legal inputs; that they were left out stands in the notes and among the skipped."""
    evidence = exported(NeedsLight(), IMAGE, tmp_path, exporter="torchscript").prove()
    assert evidence.verdict == "pass", evidence.reasons
    assert "zeros" not in {probe.family for probe in evidence.probes}
    assert evidence.skipped == ("zeros seed 21 at batch=1: the module itself refuses it",)
    assert any(note.startswith("left out: NeedsLight raised at batch=1") for note in evidence.notes)


def test_optional_probes_are_skipped_when_time_is_over(classifier: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are run however long it takes."""
    monkeypatch.setattr(run, "MIN_PROVING_SECONDS", -1.0)
    graph = classifier.graph.model_copy(update={"seconds": -1.0})
    candidate = type(classifier.candidate)(graph)
    evidence = validate(candidate, classifier.reference, keep=True).evidence
    assert evidence.verdict == "pass", evidence.reasons
    assert evidence.skipped
    assert all(text.endswith("proving took too long") for text in evidence.skipped)
    planned = {(p.family, p.seed) for p in classifier.inputs.probes if not p.optional}
    assert planned == {(p.family, p.seed) for p in evidence.probes}


def test_what_a_file_answered_is_not_asked_again(classifier: Exported) -> None:
    """Answers of the trial after the export are taken as they are: wrong ones would be believed."""
    key = next(iter(classifier.candidate.answers))
    wrong = {key: [array + 1 for array in classifier.candidate.answers[key]]}
    candidate = type(classifier.candidate)(classifier.graph, answers=wrong)
    assert validate(candidate, classifier.reference, keep=True).evidence.verdict == "fail"
    assert classifier.prove().verdict == "pass"


def test_the_reference_is_emptied_unless_it_is_to_be_kept(tmp_path: Path) -> None:
    """What it remembers is as large as all outputs."""
    file = exported(Classifier(), IMAGE, tmp_path, exporter="torchscript")
    first = file.inputs.probes[0]
    answer = file.reference.float32(first)
    validate(file.candidate, file.reference, keep=True)
    assert file.reference.float32(first) is answer
    validate(file.candidate, file.reference)
    assert file.reference.float32(first) is not answer


def test_a_file_that_fails_early_tells_what_was_not_reached(classifier: Exported) -> None:
    """Each planned probe is accounted for."""

    def wrong_shape(proto: object) -> None:
        gemm = next(node for node in proto.graph.node if node.op_type == "Gemm")  # type: ignore[attr-defined]
        gemm.op_type = "Identity"
        del gemm.input[1:]
        del gemm.attribute[:]

    evidence = classifier.prove(mutate=wrong_shape)
    assert evidence.verdict == "fail"
    assert len(evidence.skipped) + len(evidence.probes) >= len(classifier.inputs.probes)
    assert evidence.skipped[-1].endswith("not reached")


def test_a_probe_that_gets_lost_leaves_no_pass(classifier: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a run forgets a planned probe, the proof says so instead of passing without it."""
    compare = run.Comparison.compare

    def forgetful(comparison: run.Comparison, probe: Probe, answers: list[list[Array]]) -> None:
        if probe.family != "wide":
            compare(comparison, probe, answers)

    monkeypatch.setattr(run.Comparison, "compare", forgetful)
    evidence = classifier.prove()
    assert evidence.verdict == "inconclusive"
    assert "planned probes were not run, the first of them wide inputs" in evidence.reasons[0]
