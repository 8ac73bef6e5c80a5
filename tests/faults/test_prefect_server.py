"""An export depends on Prefect's server for no more than its record there."""

import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.faults.place import Place


@pytest.fixture
def place() -> Iterator[Place]:
    """Where it exports."""
    with tempfile.TemporaryDirectory(prefix="ap") as folder:  # short, as a socket's address is
        yield Place(Path(folder, "p"))


@pytest.mark.slow
@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP], ids=["dies", "hangs"])
def test_its_temporary_server_may_fail_amid_an_export(fault: signal.Signals, place: Place) -> None:
    """The version is registered, the status is 0, and within two minutes it is over."""
    process = place.start(1)
    assert process.stdout is not None
    while (line := process.stdout.readline()) and not line.strip().startswith("create_inputs"):
        pass
    children = psutil.Process(process.pid).children(recursive=True)
    servers = [child for child in children if "prefect" in " ".join(child.cmdline())]
    assert servers
    for server in servers:
        os.kill(server.pid, fault)
    started = time.monotonic()
    said, _ = process.communicate(timeout=200)
    assert process.returncode == 0, said
    assert time.monotonic() - started < 120
    assert "Prefect's server failed" in said
    assert place.result()["verdict"] == "pass"
    assert "Traceback" not in said
