"""The temporary Prefect server of a command."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

_START = """
from flows.temporary_server import TemporaryServer
server = TemporaryServer()
server.start()
with server.ready():
    print("answers")
server.stop()
"""


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
