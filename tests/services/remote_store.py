"""A tracking server as a team has it: PostgreSQL behind it, and its artifacts in an S3-like store (moto's)."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ABSENT = "needs PostgreSQL (Debian: apt install postgresql)"
_INSTALLED = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


def postgres_binaries() -> Path | None:
    """The folder of `initdb` and `postgres`, which Debian keeps off PATH; None: there is no PostgreSQL."""
    found = shutil.which("initdb")
    return Path(found).resolve().parent if found else next(reversed(_INSTALLED), None)


@contextlib.contextmanager
def serve_postgres(binaries: Path) -> Iterator[str]:
    """Run a database of its own on loopback; gives the URI of an empty database.

    Args:
        binaries: what `postgres_binaries` gives.
    """
    with tempfile.TemporaryDirectory(prefix="assay-postgres-") as data:  # pytest's folders are for their owner alone
        started: dict[str, Any] = {"cwd": data}
        if os.getuid() == 0:  # which PostgreSQL refuses to run as
            shutil.chown(data, "postgres")
            started["user"] = "postgres"
        create = [binaries / "initdb", "-D", data, "-U", "assay", "--auth=trust", "--no-sync"]
        subprocess.run(create, check=True, stdout=subprocess.DEVNULL, **started)
        port = free_port()
        options = ("listen_addresses=127.0.0.1", f"unix_socket_directories={data}")
        command = [binaries / "postgres", "-D", data, "-p", str(port), *(f"--{option}" for option in options)]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, **started)
        try:
            _until_it_answers(binaries, port)
            yield f"postgresql://assay@127.0.0.1:{port}/postgres"
        finally:
            process.send_signal(signal.SIGINT)  # it waits for no client
            process.wait(30)


def _until_it_answers(binaries: Path, port: int) -> None:
    for _ in range(60):
        asked = [binaries / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port), "-t", "1"]
        if subprocess.run(asked).returncode == 0:
            return
        time.sleep(0.5)
    raise AssertionError("PostgreSQL did not start")


@contextlib.contextmanager
def serve_s3(bucket: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Serve an S3-like store in this process; gives its address, and the environment that whoever uses it needs.

    Args:
        bucket: that it shall have.
    """
    import boto3
    from moto.moto_server.threaded_moto_server import ThreadedMotoServer

    port = free_port()
    server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
    server.start()
    address = f"http://127.0.0.1:{port}"
    keys = {"AWS_ACCESS_KEY_ID": "assay", "AWS_SECRET_ACCESS_KEY": "assay", "AWS_DEFAULT_REGION": "us-east-1"}
    boto3.client(
        "s3", endpoint_url=address, region_name="us-east-1", aws_access_key_id="assay", aws_secret_access_key="assay"
    ).create_bucket(Bucket=bucket)
    try:
        yield address, {**keys, "MLFLOW_S3_ENDPOINT_URL": address}
    finally:
        server.stop()


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port
