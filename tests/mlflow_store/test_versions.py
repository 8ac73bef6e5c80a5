"""Who names a version that there is not is told which there are; nothing is made by looking."""

from pathlib import Path

import mlflow
import pytest

from tasks.core.errors import ServiceError, SpecError
from tasks.core.spec.version_name import VersionName
from tasks.mlflow_store.versions import find_version


def complaint(text: str) -> str:
    """The sentence about a version that can't be found."""
    with pytest.raises(SpecError) as caught:
        find_version(VersionName.parse(text))
    return str(caught.value)


def test_what_there_is_not_gets_what_there_is(own_store: mlflow.MlflowClient) -> None:
    """Close names of models; the versions and the aliases of one; and a version that somebody else registered."""
    assert complaint("digits/1") == "MLflow has no registered model 'digits'; there are none yet: export one."
    run = own_store.create_run("0")
    for name in ("digits", "resnet18"):
        own_store.create_registered_model(name)
        for _ in range(2):
            own_store.create_model_version(name, source=f"runs:/{run.info.run_id}/theirs", run_id=run.info.run_id)
    own_store.set_registered_model_alias("digits", "champion", "2")
    assert complaint("digit/1") == "MLflow has no registered model 'digit'; did you mean digits?"
    assert complaint("unet@champion") == "MLflow has no registered model 'unet'; there are digits, resnet18."
    assert complaint("digits/3") == "digits has no version 3; there are 2, 1, digits@champion."
    assert complaint("digits@champoin") == "digits has no alias champoin; there are 2, 1, digits@champion."
    assert complaint("digits@champion").startswith("digits/2 has no records of an export that can be read (")


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking leaves no database behind."""
    before = mlflow.get_tracking_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/none.db")
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/none.db")
    try:
        with pytest.raises(
            ServiceError, match=r"There is no store .*none\.db yet; export a model first, or check MLFLOW"
        ):
            find_version(VersionName.parse("digits/1"))
    finally:
        mlflow.set_tracking_uri(before)
    assert list(tmp_path.iterdir()) == []
