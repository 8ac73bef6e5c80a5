"""Several probes answered by one run, where the module answers each row by itself."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tasks.core.errors import OutOfMemoryError
from tasks.core.inputs.choice import choose_inputs
from tasks.core.inputs.probes import Probe
from tasks.core.proof.plan import perturbed_probes
from tasks.core.reference import answers
from tasks.core.reference.reference import Reference
from tasks.core.spec.export_spec import ExportSpec
from tasks.core.spec.input_spec import InputSpec
from tasks.core.spec.resolve import resolve
from tests.models.row_models import Apart, Summed


class Centred(Apart):
    """Its rows depend on each other a little."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """From x [batch, 8]."""
        return super().forward(x + 1e-5 * x.mean(dim=0))


class Loud(Apart):
    """Goes another way where any row of the batch is loud."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """From x [batch, 8]."""
        return super().forward(torch.where(x.abs().amax() > 8, -x, x))


class Few(Apart):
    """Raises where the batch is larger than any planned one, as where memory is short."""

    error: Exception = RuntimeError("too many rows")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """From x [batch, 8]."""
        if len(x) > 5 or len(x) == 4:
            raise self.error
        return super().forward(x)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[int]]:
    """Batch sizes of the runs, by their kind."""
    sizes: dict[str, list[int]] = {"run_float64": [], "run_perturbed": []}

    def counted(name: str) -> None:
        run = getattr(answers, name)

        def wrapper(model: nn.Module, args: Any, kwargs: Any, **options: Any) -> Any:
            sizes[name].append(len(next(iter((*args, *kwargs.values())))))
            return run(model, args, kwargs, **options)

        wrapper.__name__ = name
        monkeypatch.setattr(answers, name, wrapper)

    for name in sizes:
        counted(name)
    return sizes


def _reference(model: nn.Module) -> tuple[Reference, list[Probe]]:
    spec = resolve(ExportSpec(model=model, weights="as-built", inputs=(InputSpec.parse("x=float32[batch:1..5,8]"),)))
    inputs = choose_inputs(spec, model.eval())
    probes = [probe for probe in inputs.probes if not probe.optional]
    reference = Reference(model, inputs)
    reference.expect(probes, perturbed_probes(probes))
    return reference, probes


def _answers(reference: Reference, probes: list[Probe]) -> list[np.ndarray]:
    perturbed = {probe.key for probe in perturbed_probes(probes)}
    found = []
    for probe in probes:
        found += reference.float64(probe)
        for seed in range(2 if probe.key in perturbed else 0):
            found += reference.perturbed(probe, seed=seed)
    return found


def _are_equal(found: list[np.ndarray], wanted: list[np.ndarray]) -> bool:
    """But for the order in which a product adds up."""
    pairs = zip(found, wanted, strict=True)
    return all(np.allclose(a, b, rtol=0, atol=1e-14 if b.dtype == np.float64 else 1e-6) for a, b in pairs)


def test_probes_are_answered_by_one_run(runs: dict[str, list[int]]) -> None:
    """Each answer is what the probe alone gives, in float64 and with perturbed weights."""
    reference, probes = _reference(Apart())
    assert [(p.family, p.sizes["batch"]) for p in probes] == [
        ("normal", 2), ("normal", 2), ("normal", 1), ("normal", 3), ("wide", 2), ("zeros", 1),
    ]  # fmt: skip
    together = _answers(reference, probes)
    # the first two are recorded; three rows are known; one, two and one are run at once, in both ways
    assert runs == {"run_float64": [2, 2, 4], "run_perturbed": [4, 4]}
    alone = Reference(reference.network, reference.inputs)
    assert _are_equal(together, _answers(alone, probes))
    assert runs["run_float64"][3:] == [2, 2, 1, 2, 1]


@pytest.mark.parametrize("make", [Centred, Loud, Summed, Few])
def test_what_depends_on_other_rows_is_run_alone(make: Callable[[], nn.Module], runs: dict[str, list[int]]) -> None:
    """Each answer is what a reference that knows of no other probe gives."""
    reference, probes = _reference(make())
    together = _answers(reference, probes)
    alone = _answers(Reference(reference.network, reference.inputs), probes)
    assert _are_equal(together, alone)


def test_a_lack_of_memory_for_all_rows_is_none_for_few() -> None:
    """What does not fit together is run alone."""
    model = Few()
    model.error = OutOfMemoryError("four rows")
    reference, probes = _reference(model)
    assert len(_answers(reference, probes)) == 12


def test_a_fixed_batch_has_no_rows_to_add() -> None:
    """Then each probe is run by itself."""
    spec = resolve(ExportSpec(model=Apart(), weights="as-built", inputs=(InputSpec.parse("x=float32[2,8]"),)))
    inputs = choose_inputs(spec, Apart().eval())
    reference = Reference(Apart(), inputs)
    reference.expect(inputs.probes, perturbed_probes(inputs.probes))
    assert not reference._batches
