"""What watches over memory sees what this process and its children take."""

import subprocess
import sys

import pytest

from tasks.core.paths import PROJECT_FOLDER
from tests.faults.peak_memory import peak_below

_TAKE = "held = bytearray(400_000_000); held[::4096] = b'x' * len(held[::4096])"


def test_what_is_taken_and_given_back_is_seen() -> None:
    """Also where nothing of it is left at the end."""
    with pytest.raises(AssertionError, match="before"), peak_below(200_000_000):
        exec(_TAKE, {})
    with peak_below(200_000_000):
        pass


_WATCH = """
import subprocess, sys
from tasks.core.paths import PROJECT_FOLDER
from tests.faults.peak_memory import peak_below
with peak_below(200_000_000):
    subprocess.run([sys.executable, "-c", sys.argv[1]], check=True)
"""


def test_what_a_child_takes_is_seen() -> None:
    """A command may start processes."""
    ran = subprocess.run([sys.executable, "-c", _WATCH, _TAKE], cwd=PROJECT_FOLDER, capture_output=True, text=True)
    assert "a child process took 4" in ran.stderr
