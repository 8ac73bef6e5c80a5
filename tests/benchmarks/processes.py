"""Commands as child processes: how long they took, and the memory they took."""

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

_PROGRAM = """
import contextlib, json, resource, subprocess, sys, time
import psutil

POLL_SECONDS, LOOK_SECONDS = 0.02, 0.25
report, output, *command = sys.argv[1:]
started = looked = time.perf_counter()
with open(output, "wb") as file:
    process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
watched, together = [psutil.Process(process.pid)], 0
while process.poll() is None:
    with contextlib.suppress(psutil.Error):
        together = max(together, sum(one.memory_info().rss for one in watched))
        if len(watched) == 1 and time.perf_counter() - looked > LOOK_SECONDS:
            looked = time.perf_counter()
            watched += [c for c in watched[0].children() if "tasks.core.runtime.session_process" in c.cmdline()]
    time.sleep(POLL_SECONDS)
seconds = time.perf_counter() - started
largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
json.dump([seconds, largest, max(largest, together), process.returncode], open(report, "w"))
"""


@dataclass(frozen=True)
class Usage:
    """What a command took."""

    seconds: float
    peak_bytes: int
    """Of the largest of its processes."""
    together_bytes: int
    """Of its process and the one in which ONNX Runtime runs files, at once; seen every 20 ms."""
    output: str

    @property
    def peak_mib(self) -> float:
        """Of the largest of its processes."""
        return self.peak_bytes / 2**20

    @property
    def together_mib(self) -> float:
        """With ONNX Runtime's process."""
        return self.together_bytes / 2**20


def measure(*command: str | Path) -> Usage:
    """Run a command to its end; one that fails ends the benchmark."""
    with tempfile.TemporaryDirectory(prefix="assay-usage-") as folder:
        report, output = Path(folder, "report.json"), Path(folder, "output.txt")
        subprocess.run([sys.executable, "-c", _PROGRAM, report, output, *map(str, command)], check=True)
        seconds, peak_bytes, together_bytes, status = json.loads(report.read_text())
        said = output.read_text(errors="replace")
    if status:
        raise SystemExit(f"{' '.join(map(str, command))} ended with {status}:\n{said}")
    return Usage(seconds, peak_bytes, together_bytes, said)
