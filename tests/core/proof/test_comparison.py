"""One probe is compared with the module: structure first, then values, with enough runs to know the noise."""

import numpy as np
import pytest
import torch
from torch import nn

from tasks.core.arrays import Array
from tasks.core.inputs.choice import choose_inputs
from tasks.core.proof.comparison import Comparison
from tasks.core.proof.observations import Observations, Observed
from tasks.core.proof.plan import make_plan
from tasks.core.records.steps import Candidate
from tasks.core.reference.reference import Reference
from tasks.core.spec.export_spec import ExportSpec
from tasks.core.spec.resolve import resolve
from tests.core.reports.report_records import make_graph


class Layer(nn.Module):
    """One output of 100 values a row."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(4, 100)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """From x [batch, 4]."""
        return self.layer(x)


@pytest.fixture
def compared() -> tuple[Comparison, Reference, Observations]:
    """A comparison with the module's own answers, what it asks, and what it notes."""
    model = Layer().eval()
    spec = resolve(ExportSpec(model=model, name="tiny", inputs=("x=float32[batch,4]",)))
    reference = Reference(model, choose_inputs(spec, model))
    seen = Observations(outputs=[Observed("scores")])
    return Comparison(make_plan(Candidate(make_graph()), reference), reference, seen), reference, seen


def _off(answer: list[Array], factor: float) -> list[Array]:
    return [array * np.float32(factor) for array in answer]


def test_an_equal_answer_is_pooled_and_moves(compared: tuple[Comparison, Reference, Observations]) -> None:
    """Each level of the file counts; the first two probes tell the movement; nothing is said."""
    comparison, reference, seen = compared
    for probe in reference.inputs.probes[:2]:
        comparison.compare(probe, [reference.float32(probe)] * 2)
    assert (seen.failures, seen.doubts, seen.notes, seen.failed_at) == ([], [], [], None)
    assert seen.compared == [*reference.inputs.probes[:2]]
    result = seen.outputs[0].pools["normal"].result()
    assert result.noise_ratio <= 1
    assert (result.num_probes, result.num_elements) == (2, 400)
    assert seen.outputs[0].movements["normal"] > 1000


def test_a_wrong_answer_is_pooled_too(compared: tuple[Comparison, Reference, Observations]) -> None:
    """Values are judged when all is pooled; one wrong level is enough to be far off."""
    comparison, reference, seen = compared
    probe = reference.inputs.probes[0]
    comparison.compare(probe, [reference.float32(probe), _off(reference.float32(probe), 1.01)])
    assert seen.failures == []
    assert seen.outputs[0].pools["normal"].result().noise_ratio > 1000


def test_another_structure_fails_at_once(compared: tuple[Comparison, Reference, Observations]) -> None:
    """With the probe at which it was seen; nothing is pooled."""
    comparison, reference, seen = compared
    probe = reference.inputs.probes[0]
    comparison.compare(probe, [[reference.float32(probe)[0][:1]]])
    assert seen.failures == ["scores has the shape [1, 100] in the file, [2, 100] in PyTorch (normal at batch=2)"]
    assert seen.failed_at == probe
    assert (seen.compared, seen.outputs[0].pools) == ([], {})


def test_the_smallest_probe_of_a_family_has_perturbed_runs(
    compared: tuple[Comparison, Reference, Observations], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a luckily small error of torch32 is no floor; others have none."""
    comparison, reference, _ = compared
    runs: list[tuple[str, int]] = []
    perturbed = reference.perturbed
    monkeypatch.setattr(
        reference, "perturbed", lambda p, seed: (runs.append((p.family, p.seed)), perturbed(p, seed=seed))[1]
    )
    for probe in reference.inputs.probes:
        comparison.compare(probe, [reference.float32(probe)])
    assert runs == [("normal", 3)] * 2 + [("wide", 20)] * 2 + [("zeros", 21)] * 2
