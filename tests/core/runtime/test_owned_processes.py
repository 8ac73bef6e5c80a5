"""Processes that end with their owner."""

import os
import subprocess
import sys

import pytest

from tasks.core.paths import PROJECT_FOLDER

_OWNER = """
import os, signal, subprocess, sys, time
from tasks.core.runtime import owned_processes
owned = owned_processes.start("tests.core.runtime.owned_program", *sys.argv[1:], stderr=int(os.environ["SAID"]),)
others = [subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], stdout=subprocess.DEVNULL).pid]
others += [os.fork()]
if others[-1] == 0:
    os.close(int(os.environ["SAID"]))
    os.close(1)
    time.sleep(600)
print(*others, flush=True)
sys.stdin.readline()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(("arguments", "last_words"), [((), b""), (("gently",), b"terminated\n")])
def test_it_ends_with_its_owner_though_others_live(arguments: tuple[str, ...], last_words: bytes) -> None:
    """The owner is killed while a fork of it and another child of it go on; a gentle end lets the process clean up."""
    said, saying = os.pipe()
    os.set_inheritable(saying, True)
    owner = subprocess.Popen(
        [sys.executable, "-c", _OWNER, *arguments],
        cwd=PROJECT_FOLDER, env={**os.environ, "SAID": str(saying)}, close_fds=False,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    os.close(saying)
    with os.fdopen(said, "rb") as lines, owner:
        assert lines.readline() == b"ready\n"
        assert owner.stdout is not None
        others = [int(pid) for pid in owner.stdout.readline().split()]
        try:
            owner.communicate(b"\n")
            assert lines.read() == last_words  # returns when the process has ended, which alone can write
            for pid in others:
                os.kill(pid, 0)
        finally:
            for pid in others:
                os.kill(pid, 9)
