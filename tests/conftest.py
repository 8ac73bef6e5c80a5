"""What all tests share: an MLflow store, a Prefect server, a slow-test switch; each made once a session."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# before anything imports Prefect or MLflow
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("DO_NOT_TRACK", "true")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --run-slow, and --require-optional for machines that must have a browser and real weights."""
    parser.addoption("--run-slow", action="store_true", help="run the tests marked slow, too")
    parser.addoption("--require-optional", action="store_true", help="fail where something optional is absent")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what is slow, unless asked for."""
    if config.getoption("--run-slow"):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="slow: run with --run-slow"))


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real MLflow store in SQLite, for this process and its children; gives its tracking URI."""
    folder = tmp_path_factory.mktemp("store")
    uri = f"sqlite:///{folder}/mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        patch.setenv("_MLFLOW_SERVER_ARTIFACT_ROOT", str(folder / "mlruns"))
        import mlflow

        mlflow.set_tracking_uri(uri)
        client = mlflow.MlflowClient()
        client.create_experiment("onnx-exports", artifact_location=(folder / "mlruns").as_uri())
        yield uri


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Prefect server on loopback with a home of its own; gives its API address."""
    home: Path = tmp_path_factory.mktemp("prefect")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(home))
        from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

        from flows.temporary_server import TemporaryServer

        with temporary_settings({PREFECT_HOME: home}):
            server = TemporaryServer()
            server.start()
            try:
                with server.ready():
                    patch.setenv("PREFECT_API_URL", PREFECT_API_URL.value() or "")
                    yield PREFECT_API_URL.value() or ""
            finally:
                server.stop()
