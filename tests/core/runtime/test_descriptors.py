"""What C++ prints is silenced; what Python prints, in any thread, is not."""

import subprocess
import sys
import textwrap

PROGRAM = """
import ctypes, os, sys, threading
from tasks.core.runtime.descriptors import leave_descriptors, silenced

C = ctypes.CDLL(None)
def noise(word):
    C.puts(word.encode())  # into the buffer of C
    os.write(1, f"{word} 1\\n".encode())
    os.write(2, f"{word} 2\\n".encode())

sys.argv[1] == "command" and leave_descriptors()
noise("before")
with silenced():
    noise("silent")
    with silenced():
        thread = threading.Thread(target=print, args=("from a thread",))
        thread.start(); thread.join()
    noise("silent")
    print("to standard error", file=sys.stderr, flush=True)
noise("after")
print("at the end")
"""


def run(how: str) -> tuple[list[str], list[str]]:
    """What the program printed, lines sorted: the buffers of C and Python are flushed in no order."""
    ran = subprocess.run([sys.executable, "-c", textwrap.dedent(PROGRAM), how], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return sorted(ran.stdout.splitlines()), sorted(ran.stderr.splitlines())


def test_a_command_loses_only_what_c_prints() -> None:
    """Before and after, in threads, and on both streams, everything else comes out."""
    stdout, stderr = run("command")
    assert stdout == ["after", "after 1", "at the end", "before", "before 1", "from a thread"]
    assert stderr == ["after 2", "before 2", "to standard error"]


def test_where_python_writes_to_a_descriptor_it_stays() -> None:
    """A program that calls Assay keeps all that its threads print, noise too."""
    stdout, stderr = run("library")
    assert "from a thread" in stdout
    assert "to standard error" in stderr
    assert "silent 1" in stdout
