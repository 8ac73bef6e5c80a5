"""Free memory goes back to the system."""

import subprocess
import sys

from tasks.core.paths import PROJECT_FOLDER

_FREE = """
import psutil
from tasks.core.runtime.memory import freed_eagerly, release_free_memory

def resident_bytes():
    return psutil.Process().memory_info().rss

def kept_bytes():
    before = resident_bytes()
    blocks = [bytearray(b"x" * (100 << 10)) for _ in range(1000)]
    last = bytearray(b"x" * (100 << 10))  # above them on the heap
    del blocks
    return resident_bytes() - before, last

kept, last = kept_bytes()
before = resident_bytes()
release_free_memory()
print(kept, before - resident_bytes())

bytearray(20 << 20)  # glibc learns that such blocks come and go
before = resident_bytes()
with freed_eagerly():
    blocks = [bytearray(b"x" * (2 << 20)) for _ in range(50)]
    last = bytearray(b"x" * (2 << 20))
    del blocks
    print(resident_bytes() - before)
"""


def test_it_goes_back() -> None:
    """On request what lies between used blocks; within `freed_eagerly` each large block when it is freed."""
    process = subprocess.run([sys.executable, "-c", _FREE], cwd=PROJECT_FOLDER, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    kept, released, kept_eagerly = map(int, process.stdout.split())
    assert kept > 50e6
    assert released > 50e6
    assert kept_eagerly < 10e6
