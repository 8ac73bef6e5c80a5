"""What MLflow holds after an export of `digits`: a client of the store, the run, the version."""

import mlflow
import pytest
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion

from tasks.core.records.steps import ExportResult


@pytest.fixture(scope="module")
def client(exported_digits: ExportResult) -> mlflow.MlflowClient:
    """A client of the store that the export filled."""
    return mlflow.MlflowClient()


@pytest.fixture(scope="module")
def run(client: mlflow.MlflowClient, exported_digits: ExportResult) -> Run:
    """The run of the export."""
    return client.get_run(str(exported_digits.release.run_id))


@pytest.fixture(scope="module")
def version(client: mlflow.MlflowClient) -> ModelVersion:
    """The champion."""
    return client.get_model_version_by_alias("digits", "champion")
