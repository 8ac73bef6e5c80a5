"""Exporters are tried in turn, and a file that is wrong at another size sends to the next."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tasks.core.arrays import EPS32
from tasks.core.errors import ExportError, SpecError
from tasks.core.export.fallback import _gross_ratio, export
from tasks.core.inputs.choice import choose_inputs
from tasks.core.records.steps import Candidate
from tasks.core.reference.reference import Reference
from tasks.core.spec.export_spec import ExportSpec
from tasks.core.spec.resolve import resolve
from tests.models.tiny_models import OtherWhenTraced

X = "x=float32[batch,4]"


def _export(model: nn.Module, folder: Path, *, provenance: dict[str, str] | None = None, **fields: Any) -> Candidate:
    spec = resolve(ExportSpec(model=model.eval(), name="tiny", inputs=(X,), **fields))
    inputs = choose_inputs(spec, model)
    reference = Reference(model, inputs)
    return export(spec, reference, provenance=provenance or {}, folder=folder)[0]


def test_a_file_comes_with_what_it_answered(tmp_path: Path) -> None:
    """At a second and an odd size, without graph optimisation; the proof need not run it there again."""
    model = nn.Linear(4, 3)
    candidate = _export(model, tmp_path, exporter="torchscript", provenance={"assay.name": "tiny"})
    assert {level for level, _ in candidate.answers} == {"off"}
    sizes = {dict(key[2])["batch"] for _, key in candidate.answers}  # type: ignore[call-overload]
    assert sizes == {1, 3}
    assert all(answer[0].shape[1:] == (3,) for answer in candidate.answers.values())
    assert candidate.graph.path == tmp_path / "model.onnx"
    assert (candidate.failures, candidate.notes, candidate.file_inputs) == ((), (), {})


def test_a_wrong_file_is_kept_where_there_is_no_other(tmp_path: Path) -> None:
    """The proof says so with its figures; the reason names what was seen."""
    candidate = _export(OtherWhenTraced(), tmp_path, exporter="torchscript")
    assert candidate.graph.exporter == "torchscript"
    assert candidate.answers


def test_no_file_at_all_is_an_error(tmp_path: Path) -> None:
    """With what each exporter said."""

    class Spectrum(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.fft.rfft(x).abs()

    with pytest.raises(ExportError, match="tiny could not be exported: torchscript"):
        _export(Spectrum(), tmp_path, exporter="torchscript")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"outputs": ("x",)}, "--output x is the name of an input or parameter"),
        ({"outputs": ("a", "b")}, "forward returns 1 tensors"),
        ({"constant_outputs": ("gone",)}, "--constant-output gone is no output; the model has output"),
    ],
)
def test_names_of_outputs_must_fit(fields: dict[str, Any], says: str, tmp_path: Path) -> None:
    """They are bad input, seen before any exporter runs."""
    with pytest.raises(SpecError, match=says):
        _export(nn.Linear(4, 3), tmp_path, **fields)


def test_a_gross_error_is_a_multiple_of_a_rounding_or_of_what_perturbed_weights_make() -> None:
    """The larger of the two is the measure; integers and other shapes are left to the proof."""
    values = np.random.default_rng(0).standard_normal(100).astype(np.float32)
    wrong = values * np.float32(1.01)
    assert _gross_ratio(values, values) == 0.0
    assert _gross_ratio(wrong, values) == pytest.approx(0.01 / EPS32, rel=0.01)
    assert _gross_ratio(wrong, values, wrong) == pytest.approx(1.0)
    assert _gross_ratio(wrong, values, wrong[:5]) == 0.0
    assert _gross_ratio(np.ones(3, int), np.zeros(3, int)) == 0.0
