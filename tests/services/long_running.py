"""Commands that run until they are ended, as servers and workers do, and what Prefect's server knows of them."""

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def running(command: list[str], folder: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command in another folder; end it politely."""
    log = folder / "output.txt"
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output)
    try:
        yield process
        process.send_signal(signal.SIGINT)
        process.wait(30)
    except BaseException:
        sys.stdout.write(log.read_text())
        raise
    finally:
        process.kill()


def ask(server: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """What Prefect's API answers; asked again while the server is busy, as Prefect's clients and its pages do."""
    from prefect.client.base import PrefectHttpxSyncClient

    with PrefectHttpxSyncClient(timeout=60) as client:
        answer = client.get(server + path) if body is None else client.post(server + path, json=body)
        return answer.json()


def finished_runs(server: str, deployment: str) -> list[dict[str, Any]]:
    """The flow runs of a deployment that ended, in the order of their ends."""
    body = {
        "deployments": {"name": {"any_": [deployment]}},
        "flow_runs": {"state": {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"]}}},
    }
    return sorted(ask(server, "/flow_runs/filter", body), key=lambda run: run["end_time"])


def until(found: Callable[[], Any], *, process: subprocess.Popen[bytes], seconds: int) -> Any:
    """Wait for something that is not empty."""
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert process.poll() is None, f"{process.args} ended with {process.returncode}"
        assert time.monotonic() < deadline, f"nothing after {seconds} s"
        time.sleep(0.5)
    return value
