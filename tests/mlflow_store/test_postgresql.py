"""A store in PostgreSQL holds what one in SQLite holds; a database server that fails is told soon, in a sentence."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow
import pytest

from flows.export import ExportSpec, export_model
from tasks.core.errors import ServiceError
from tasks.core.paths import PROJECT_FOLDER
from tasks.core.runtime.owners import owner
from tasks.mlflow_store import stale
from tasks.mlflow_store.database import check_server
from tasks.mlflow_store.proven import find_proven
from tests.models import tiny_models
from tests.services.postgresql import Cluster

TOLD_SECONDS = 15.0
SPEC = ExportSpec(
    model=f"{tiny_models.__file__}:Classifier",
    name="in-postgresql",
    inputs=("image=float32[batch,3,8,8]",),
    weights="as-built",
    exporter="torchscript",
)


@pytest.fixture
def use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Lets this process use a database as its store for the test; its artifacts lie in the test's folder."""
    before = mlflow.get_tracking_uri()

    def use(address: str) -> None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        monkeypatch.setenv("_MLFLOW_SERVER_ARTIFACT_ROOT", str(tmp_path / "files"))
        mlflow.set_tracking_uri(address)

    yield use
    mlflow.set_tracking_uri(before)


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_server")
def test_it_holds_an_export(postgresql: Cluster, use: Callable[[str], None]) -> None:
    """Version, aliases and records are read back; nothing changed is seen; what a dead process left is closed."""
    use(postgresql.database("exported"))
    result = export_model(SPEC)
    assert (result.verdict, result.release and result.release.version) == ("pass", "1")
    client = mlflow.MlflowClient()
    aliases = client.get_registered_model("in-postgresql").aliases
    assert {alias: str(version) for alias, version in aliases.items()} == {"champion": "1", "proven": "1"}
    tags = {stale.OWNER: f"{owner().rpartition('/')[0]}/0", stale.KIND: "export"}
    (experiment,) = client.search_experiments(filter_string="name = 'onnx-exports'")
    left = client.create_run(experiment.experiment_id, start_time=1, tags=tags).info.run_id
    stale._clean_up.cache_clear()
    assert export_model(SPEC, force=True).release is not None
    assert client.get_run(left).info.status == "KILLED"
    assert export_model(SPEC).unchanged
    assert len(client.search_model_versions("name='in-postgresql'")) == 1, "of one content"


_CONNECT = """
from tasks.mlflow_store.store import connect
print("ready", flush=True)
input()
connect().search_registered_models()
"""


@pytest.mark.slow
def test_processes_may_make_its_tables_at_once(postgresql: Cluster) -> None:
    """Without the lock, two that find an empty database make the same tables, and one fails."""
    environment = os.environ | {"MLFLOW_TRACKING_URI": postgresql.database("raced"), "PYTHONPATH": str(PROJECT_FOLDER)}
    command = [sys.executable, "-c", _CONNECT]
    started = [
        subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in started:
        process.communicate(timeout=200)
    assert [process.returncode for process in started] == [0, 0, 0]


def _told() -> str:
    check_server.cache_clear()
    started = time.monotonic()
    with pytest.raises(ServiceError) as caught:
        find_proven("digits")
    said = str(caught.value)
    assert time.monotonic() - started < TOLD_SECONDS
    assert caught.value.exit_status == 3
    assert len(said) <= 500
    assert "\n" not in said
    assert "s3cret" not in said
    assert "sqlalche" not in said
    return said


def test_a_server_that_is_not_there_is_told(use: Callable[[str], None]) -> None:
    """MLflow alone would try for a minute and a half."""
    use("postgresql://me:s3cret@127.0.0.1:9/mlflow?sslpassword=s3cret")
    assert "Connection refused" in _told()


def test_a_database_that_is_not_there_is_told(postgresql: Cluster, use: Callable[[str], None]) -> None:
    """By its name."""
    use(f"postgresql://assay:s3cret@127.0.0.1:{postgresql.port}/nowhere")
    assert 'database "nowhere" does not exist' in _told()


def test_a_server_that_hangs_is_told(
    postgresql: Cluster, use: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It accepts connections and says nothing."""
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "2")  # ten, for users
    use(f"postgresql://assay@127.0.0.1:{postgresql.port}/postgres")
    os.kill(postgresql.process_id, signal.SIGSTOP)
    try:
        assert "timeout expired" in _told()
    finally:
        os.kill(postgresql.process_id, signal.SIGCONT)


def test_a_database_without_a_library_is_told(use: Callable[[str], None]) -> None:
    """With what to install."""
    use("postgresql+pg8000://127.0.0.1/mlflow")
    assert "pip install" in _told()
