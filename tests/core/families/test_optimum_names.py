"""Names, dimensions and opset of files are those of Optimum's exporter, recorded by optimum_names.py."""

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.core.export.fallback import export
from tasks.core.inputs.choice import choose_inputs
from tasks.core.model.building import build_with_weights
from tasks.core.records.steps import TensorType
from tasks.core.reference.reference import Reference
from tasks.core.spec.export_spec import ExportSpec
from tasks.core.spec.resolve import resolve
from tasks.core.weights.sources import find_weights
from tests.models.tiny_architectures import ARCHITECTURES

RECORDED = json.loads(Path(__file__).with_name("optimum_names.json").read_text())["models"]
OTHERWISE = {
    ("segformer", "logits"): "a quarter of the picture's sides, which Optimum calls height and width",
    ("wav2vec2", "logits"): "follows from the length by a formula, which Optimum writes out",
    ("clip", "pixel_values"): "called image_batch_size as in the outputs, which Optimum calls batch_size",
}
"""Words that differ, and why."""
pytestmark = pytest.mark.slow


def differences(theirs: dict[str, list[str | int]], ours: tuple[TensorType, ...]) -> dict[str, Any]:
    """By name those whose dims differ; a size that the module fixes is no difference, whatever Optimum calls it."""
    return {
        value.name: (value.dims, theirs[value.name])
        for value in ours
        if len(value.dims) != len(theirs[value.name])
        or any(not isinstance(a, int) and a != b for a, b in zip(value.dims, theirs[value.name], strict=True))
    }


@pytest.mark.parametrize("name", RECORDED)
def test_a_file_looks_as_optimums_does(name: str, tmp_path: Path) -> None:
    """So that whoever loads Optimum's files can load these."""
    recorded = RECORDED[name]
    ARCHITECTURES[name]().save_pretrained(tmp_path / name)
    spec = resolve(ExportSpec(model=f"hf:{tmp_path}/{name}", opset=recorded["opset"]))
    module, _ = build_with_weights(spec, find_weights(spec, lambda uri: pytest.fail(uri)))
    candidate, _ = export(spec, Reference(module, choose_inputs(spec, module)), provenance={}, folder=tmp_path)
    graph = candidate.graph
    assert graph.opset == recorded["opset"]
    assert [value.name for value in graph.inputs] == list(recorded["inputs"])
    assert [value.name for value in graph.outputs] == list(recorded["outputs"])
    different = differences(recorded["inputs"], graph.inputs) | differences(recorded["outputs"], graph.outputs)
    assert different.keys() == {value for model, value in OTHERWISE if model == name}, different
