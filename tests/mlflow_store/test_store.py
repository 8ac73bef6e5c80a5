"""A store that can't take what is made is named before anything is made for it."""

import mlflow
import pytest

from flows.export import ExportSpec, export_model
from tasks.core.errors import ServiceError
from tests.models.tiny_models import Classifier

EXPERIMENT = "elsewhere"


def _artifacts_at(location: str, client: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    client.create_experiment(EXPERIMENT, artifact_location=location)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("s3://bucket/exports", "boto|credentials"), ("gs://bucket/exports", "google"), ("nowhere://bucket", "nowhere"),
        ("file:///dev/null/exports", "Not a directory"),
    ],
)  # fmt: skip
def test_an_artifact_store_that_can_not_be_used_is_said_before_the_work(
    location: str, words: str, own_store: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lacks (library, credentials, folder) is a service out of reach; no weights are fetched, no run is left."""
    _artifacts_at(location, own_store, monkeypatch)
    monkeypatch.setattr("flows.export.fetch_weights", lambda _: pytest.fail("work was done before"))
    with pytest.raises(ServiceError, match=words) as caught:
        export_model(ExportSpec(model=Classifier().eval(), name="tiny", inputs=("image=float32[batch,3,8,8]",)))
    assert location in str(caught.value)
    experiment = own_store.get_experiment_by_name(EXPERIMENT)
    assert not own_store.search_runs([experiment.experiment_id])
