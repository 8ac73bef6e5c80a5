"""A training team's model in MLflow becomes an ONNX file."""

from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch

from flows.export import ExportSpec, export_model
from tasks.core.errors import WeightsError
from tasks.core.hashes import tensors_sha256
from tasks.core.weights.sources import find_weights
from tasks.fetch_weights import fetch_from_mlflow
from tests.models.tiny_models import Classifier

pytestmark = pytest.mark.usefixtures("store", "prefect_server")
TINY = f"{Path(__file__).parents[1]}/models/tiny_models.py:Classifier"


@pytest.fixture(scope="module")
def trained(store: str) -> Classifier:
    """A model that a training run logged as MLflow does by default, registered with an alias, and its state_dict."""
    model = Classifier().eval()
    torch.nn.init.normal_(model.head.bias)
    with mlflow.start_run() as run:
        mlflow.pytorch.log_model(
            model,
            name="trained",
            input_example=np.zeros((2, 3, 8, 8), dtype=np.float32),
            registered_model_name="trained",
            pip_requirements=["torch"],
        )
        mlflow.pytorch.log_state_dict(model.state_dict(), "checkpoint")
    client = mlflow.MlflowClient()
    client.set_registered_model_alias("trained", "best", client.get_latest_versions("trained")[0].version)
    model.run_id = run.info.run_id  # type: ignore[assignment]  # carried along for the tests
    return model


@pytest.mark.filterwarnings("ignore")
def test_weights_come_from_mlflow(trained: Classifier, tmp_path: Path) -> None:
    """The weights of an alias are exported, and the origin stands in the file."""
    uri = "models:/trained@best"
    spec = ExportSpec(model=TINY, name="from-mlflow", weights=uri, inputs=["image=float32[batch,3,8,8]"])
    result = export_model(spec, output=tmp_path / "model.onnx", force=True)
    assert result.verdict == "pass"
    import onnx

    file = onnx.load(tmp_path / "model.onnx")
    assert {p.key: p.value for p in file.metadata_props}["assay.weights"] == uri
    biases = [onnx.numpy_helper.to_array(t) for t in file.graph.initializer if list(t.dims) == [5]]
    assert any(np.array_equal(bias, trained.head.bias.detach().numpy()) for bias in biases)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("uri", ["models:/trained@best", "models:/trained/1", "runs:/{run_id}/checkpoint"])
def test_the_weights_are_those_that_were_logged(uri: str, trained: Classifier) -> None:
    """An alias, a version and a run's state_dict each give the trained tensors, and the origin is on record."""
    uri = uri.format(run_id=trained.run_id)
    weights = find_weights(ExportSpec(model=TINY, weights=uri), fetch_from_mlflow)
    assert (weights.kind, weights.origin) == ("mlflow", uri)
    assert weights.tensors_sha256 == tensors_sha256(trained.state_dict())


def test_what_mlflow_does_not_have_is_said_in_one_sentence(trained: Classifier) -> None:
    """A wrong name or alias is a WeightsError that names the URI."""
    for uri in ("models:/trained@nobody", "models:/nobody/1", f"runs:/{trained.run_id}/nothing"):
        with pytest.raises(WeightsError, match="MLflow has no"):
            fetch_from_mlflow(uri)
