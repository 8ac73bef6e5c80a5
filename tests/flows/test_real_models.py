"""Real pretrained weights go through the flow and pass."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from flows.export import ExportSpec, export_model
from tests.models.real_models import CASES, SITE, photograph

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("store", "prefect_server", "real_weights")]
TABBY_TIGER_EGYPTIAN = {281, 282, 285}
"""ImageNet's classes of such cats."""


@pytest.mark.parametrize("name", CASES)
def test_real_weights_pass(name: str, tmp_path: Path) -> None:
    """Each real model is exported from `file.py:factory` with its own checkpoint, and proven with power."""
    case = CASES[name]
    spec = ExportSpec(
        model=f"{Path(__file__).parents[1] / 'models' / 'real_models.py'}:{name}",
        weights=str(SITE / case.weights),
        inputs=case.inputs,
    )
    result = export_model(spec, output=tmp_path / "model.onnx")
    assert result.verdict == "pass"
    assert all(output.power.movement > 100 for output in result.parity.values())
    if name == "efficientnet_lite0":
        session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
        (scores,) = session.run(None, {"image": photograph("chelsea.png")})
        assert int(np.argmax(scores)) in TABBY_TIGER_EGYPTIAN
