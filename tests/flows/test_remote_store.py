"""Exports to a team's tracking server, as docs/how-to.md has it: PostgreSQL, and an S3-like store."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch

from tasks.core.hashes import tensors_sha256
from tasks.core.paths import PROJECT_FOLDER
from tests.models.tiny_models import Classifier
from tests.services.keys import make_keys
from tests.services.postgresql import Cluster
from tests.services.s3 import serve_s3

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_server")]


@pytest.fixture(scope="module")
def database(postgresql: Cluster) -> str:
    """The address of an empty database of PostgreSQL."""
    return postgresql.database("tracking")


@pytest.fixture(scope="module")
def bucket() -> Iterator[tuple[str, dict[str, str]]]:
    """The address of an S3-like store with a bucket `assay`, and the keys that it takes."""
    with serve_s3("assay") as found:
        yield found


@pytest.fixture(scope="module")
def tracking_server(
    database: str, bucket: tuple[str, dict[str, str]], start_service: Callable[..., str],
    tmp_path_factory: pytest.TempPathFactory,
) -> str:  # fmt: skip
    """The address of an MLflow server in front of both."""
    kept = {name: value for name, value in os.environ.items() if "MLFLOW" not in name}
    environment = {**kept, **bucket[1], "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    stores = ["--backend-store-uri", database, "--artifacts-destination", "s3://assay/artifacts"]
    arguments = ["server", *stores, "--workers", "1", "--port", "{port}"]
    return start_service("mlflow", *arguments, ready="/health", env=environment, cwd=tmp_path_factory.mktemp("server"))


def run(tracking_server: str, folder: Path, *arguments: str, **variables: str) -> dict[str, Any]:
    """The only result of a command of Assay, on a machine that has the server's address and no keys for the store."""
    ran = subprocess.run(
        [sys.executable, PROJECT_FOLDER / "flows" / arguments[0], *arguments[1:], "--json", "-"],
        cwd=folder, env={**os.environ, "MLFLOW_TRACKING_URI": tracking_server, **variables}, capture_output=True,
        text=True,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    (result,) = json.loads(ran.stdout)["results"]
    return dict(result)


def test_a_team_s_server_holds_versions_and_files(
    tracking_server: str, database: str, bucket: tuple[str, dict[str, str]], tmp_path: Path
) -> None:
    """The version is in PostgreSQL, the proven bytes in the bucket; the next export sees both, and changes nothing."""
    import boto3
    import psycopg2

    first = run(tracking_server, tmp_path, "export.py", "digits", "-o", "digits.onnx")
    assert (first["verdict"], first["version"], first["unchanged"]) == ("pass", "1", False)
    again = run(tracking_server, tmp_path, "export.py", "digits", "--check")
    assert (again["version"], again["unchanged"]) == ("1", True)
    assert run(tracking_server, tmp_path, "verify.py", "--store")["state"] == "sound"

    connection = psycopg2.connect(database)
    with connection, connection.cursor() as cursor:
        cursor.execute("select name, version from model_versions")
        assert cursor.fetchall() == [("digits", 1)]
    connection.close()

    address, keys = bucket
    store = boto3.resource(
        "s3", endpoint_url=address, region_name=keys["AWS_DEFAULT_REGION"],
        aws_access_key_id=keys["AWS_ACCESS_KEY_ID"], aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
    )  # fmt: skip
    (stored,) = [item for item in store.Bucket("assay").objects.all() if item.key.endswith("model.onnx")]
    assert stored.key.startswith("artifacts/")
    digest = hashlib.sha256(stored.get()["Body"].read()).hexdigest()
    assert digest == first["onnx_sha256"] == hashlib.sha256((tmp_path / "digits.onnx").read_bytes()).hexdigest()


def test_a_signature_lies_beside_the_file(tracking_server: str, tmp_path: Path) -> None:
    """In the bucket, with the record; whoever has the public key sees that it holds."""
    private, public = make_keys(tmp_path / "keys")
    command = ("export.py", "digits", "--name", "signed")
    assert run(tracking_server, tmp_path, *command, ASSAY_SIGNING_KEY=str(private))["version"] == "1"
    looked = run(tracking_server, tmp_path, "verify.py", "--store", "signed", ASSAY_VERIFYING_KEY=str(public))
    assert looked["state"] == "sound"


def test_weights_from_the_server_leave_no_temporary_files(tracking_server: str, tmp_path: Path) -> None:
    """They lie in the cache, by their content, once."""
    state = Classifier().state_dict()
    client = mlflow.MlflowClient(tracking_server)
    run_id = client.create_run(client.create_experiment("training")).info.run_id
    torch.save(state, tmp_path / "trained.pth")
    client.log_artifact(run_id, str(tmp_path / "trained.pth"))
    (tmp_path / "temporary").mkdir()
    folders = {"TMPDIR": str(tmp_path / "temporary"), "ASSAY_CACHE": str(tmp_path / "cache")}
    model = f"{PROJECT_FOLDER}/tests/models/tiny_models.py:Classifier"
    command = ("export.py", model, "--weights", f"runs:/{run_id}/trained.pth", "--input", "image=float32[batch,3,8,8]")
    for _ in range(2):
        found = run(tracking_server, tmp_path, *command, "--force", **folders)
        assert (found["verdict"], found["weights_sha256"]) == ("pass", tensors_sha256(state))
    assert [path.name for path in (tmp_path / "temporary").rglob("*.pth")] == []
    (kept,) = (tmp_path / "cache").rglob("*.pth")
    assert kept.read_bytes() == (tmp_path / "trained.pth").read_bytes()
