"""An export depends on Prefect's server for no more than its record there."""

import importlib
import os
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.faults.place import Place
from tests.flows.in_process import Ran

TOLD_SECONDS = 15.0


@pytest.fixture
def place() -> Iterator[Place]:
    """Where it exports."""
    with tempfile.TemporaryDirectory(prefix="ap") as folder:  # short, as a socket's address is
        yield Place(Path(folder, "p"))


@pytest.mark.slow
@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP], ids=["dies", "hangs"])
def test_its_temporary_server_may_fail_amid_an_export(fault: signal.Signals, place: Place) -> None:
    """The version is registered, the status is 0, and its record there is given up soon."""
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
    assert time.monotonic() - started < 60  # 15 of them for Prefect
    assert "Prefect's server failed" in said
    assert place.result()["verdict"] == "pass"
    assert "Traceback" not in said


@pytest.mark.usefixtures("own_store")
@pytest.mark.parametrize(
    ("program", "hangs"),
    [("export", False), ("sweep", False), pytest.param("export", True, marks=pytest.mark.slow)],
)
def test_a_server_that_does_not_answer_is_told_before_the_work(
    program: str, hangs: bool, call: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one sentence within 15 s, with status 3, whether nobody is there or it says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1] if hangs else 9
        monkeypatch.setenv("PREFECT_API_URL", f"http://me:s3cret@127.0.0.1:{port}/api")
        main = importlib.import_module(f"flows.command_line.{program}").main
        started = time.monotonic()
        ran = call(main, "digits")
    assert time.monotonic() - started < TOLD_SECONDS
    assert ran.status == 3, ran.err
    (said,) = [line for line in ran.err.splitlines() if "Prefect" in line]
    assert f"Prefect's server at http://127.0.0.1:{port}/api does not answer" in said
    assert "s3cret" not in ran.out + ran.err
