"""A module in memory is exported and given back as it was."""

from pathlib import Path

import pytest
import torch

from flows.export import ExportSpec, export_model
from tests.models.tiny_models import Classifier

pytestmark = pytest.mark.usefixtures("store", "prefect_server")
IMAGE = ["image=float32[batch,3,8,8]"]


def test_a_live_module_is_exported_and_left_alone(tmp_path: Path) -> None:
    """Training modes, each as it was, and values: nothing of the caller's module changes, and again it is unchanged."""
    model = Classifier().train()
    model.norm.eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    spec = ExportSpec(model=model, name="live", inputs=IMAGE)
    result = export_model(spec, output=tmp_path / "live.onnx")
    assert result.verdict == "pass"
    assert "was in train mode; it is proven in eval mode" in "; ".join(result.notes)
    assert (model.training, model.norm.training, model.drop.training) == (True, False, True)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not result.unchanged
    assert export_model(spec).unchanged


def test_a_state_dict_is_lent_to_the_module(tmp_path: Path) -> None:
    """The file holds the given tensors, nested or not; the module keeps its own."""
    model, other = Classifier().eval(), Classifier()
    torch.nn.init.ones_(other.head.bias)
    own = model.head.bias.clone()
    spec = ExportSpec(model=model, name="lent", inputs=IMAGE, weights={"state_dict": other.state_dict()})
    assert export_model(spec, output=tmp_path / "lent.onnx").verdict == "pass"
    assert torch.equal(model.head.bias, own)
    import onnxruntime

    session = onnxruntime.InferenceSession(tmp_path / "lent.onnx")
    image = torch.randn(2, 3, 8, 8)
    (found,) = session.run(None, {"image": image.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), other.eval()(image), rtol=1e-4, atol=1e-4)
