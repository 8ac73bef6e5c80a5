"""The temporary Prefect server of a command."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

_START = """
from flows.processes.temporary_server import TemporaryServer
server = TemporaryServer()
server.start()
with server.ready():
    print("answers")
server.stop()
"""


_STAY = """
import time
from flows.processes.temporary_server import TemporaryServer
server = TemporaryServer()
server.start()
with server.ready():
    print(server._process.pid, flush=True)
    time.sleep(600)
"""


@pytest.mark.slow
def test_it_ends_with_its_command(tmp_path: Path) -> None:
    """Even if that is killed; and what lies in the user's folder is not imported."""
    (tmp_path / "queue.py").write_text("raise ImportError('not this one')\n")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_API")}
    with subprocess.Popen(
        [sys.executable, "-P", "-c", _STAY], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    ) as command:
        assert command.stdout is not None
        server = psutil.Process(int(command.stdout.readline()))
        command.kill()
    psutil.wait_procs([server], timeout=30)
    assert not server.is_running()


@pytest.mark.slow
def test_two_commands_may_be_the_first_at_once(tmp_path: Path) -> None:
    """Two servers that would make Prefect's database at once both start, one after the other."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_API")}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _START],
            env={**environment, "PREFECT_HOME": str(tmp_path / "home")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in processes:
        said, complained = process.communicate(timeout=300)
        assert (process.returncode, said) == (0, "answers\n"), complained
