"""Models of every family go through the ordinary flow and pass."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from flows.command_line.export import main as export_main
from flows.command_line.verify import main as verify_main
from tasks.core.records.steps import ExportResult
from tasks.core.spec.export_spec import ExportSpec
from tests.flows.in_process import Ran
from tests.models.tiny_transformers import vit

FAMILIES = ["resnet18", "lraspp_mobilenet_v3_large", "r3d_18", "raft_small", "ssdlite320_mobilenet_v3_large"]
FAMILIES += ["fasterrcnn_mobilenet_v3_large_320_fpn", "quantized_shufflenet_v2_x0_5"]


@pytest.fixture
def export(store: str, prefect_server: str) -> Any:
    """The flow, with a store and a server of its own."""
    from flows.export import export_model

    return lambda **fields: export_model(ExportSpec(**fields))


def test_a_tiny_detector_goes_through_the_whole_flow(export: Any) -> None:
    """A detector that takes a list of pictures is exported under the names asked for, proven and registered."""
    result: ExportResult = export(
        model="tests/models/tiny_detectors.py:ListDetector",
        weights="as-built",
        inputs=("images.0=float32[3,height=40,width=56]",),
        input_names=("image",),
        exporter="torchscript",
        static={"number of images": "tracing unrolls the list"},
    )
    assert (result.verdict, result.release.version) == ("pass", "1")
    assert [str(value) for value in result.graph.inputs] == ["image: float32[3, height, width]"]
    assert [value.name for value in result.graph.outputs] == ["boxes", "scores", "labels"]
    assert all(len(set(dim.sizes)) > 1 for dim in result.evidence.dims)
    assert result.static == {"number of images": "tracing unrolls the list"}
    assert "static: number of images, as tracing unrolls the list" in result.notes


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", FAMILIES)
def test_a_model_of_each_family_passes(name: str, export: Any) -> None:
    """With random weights it is exported with every dynamic dimension of its recipe, and passes with power."""
    result: ExportResult = export(model=name, weights="random")
    assert result.verdict == "pass", result.reason
    assert {dim.name for dim in result.evidence.dims if dim.in_file} >= {"height", "width"}
    for output in result.parity.values():
        assert output.detections is None or output.detections.num_matched > 0.9 * output.detections.num_reference > 0


@pytest.mark.slow
def test_a_file_is_proven_against_the_folder_that_it_was_made_of(
    store: str, prefect_server: str, tmp_path: Path, call: Callable[..., Ran]
) -> None:
    """`hf:FOLDER -o FILE`, then `verify.py hf:FOLDER FILE`: right, and wrong where the folder has other weights now."""
    model = vit(tmp_path / "pictures")
    exported = call(export_main, "hf:./pictures", "-o", "pictures.onnx")
    assert (exported.status, exported.verdicts) == (0, ["pass"]), exported.err
    assert call(verify_main, "hf:./pictures", "pictures.onnx").verdicts == ["pass"]
    with torch.no_grad():
        model.classifier.weight[0] *= 1.01
    model.save_pretrained(tmp_path / "pictures")
    ran = call(verify_main, "hf:./pictures", "pictures.onnx")
    assert (ran.status, ran.verdicts) == (1, ["fail"]), ran.err
