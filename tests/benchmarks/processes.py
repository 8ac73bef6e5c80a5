"""Commands as child processes: how long they took, and the memory they took."""

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

_PROGRAM = """
import json, resource, subprocess, sys, time
started = time.perf_counter()
process = subprocess.run(sys.argv[2:], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
seconds = time.perf_counter() - started
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
report = [seconds, usage.ru_maxrss / 1024, process.returncode, process.stdout.decode()]
open(sys.argv[1], "w").write(json.dumps(report))
"""


@dataclass(frozen=True)
class Usage:
    """What a command took."""

    seconds: float
    peak_mib: float
    """Of the largest of its processes."""
    output: str


def measure(*command: str | Path) -> Usage:
    """Run a command to its end; one that fails ends the benchmark."""
    with tempfile.NamedTemporaryFile(prefix="assay-usage-") as report:
        subprocess.run([sys.executable, "-c", _PROGRAM, report.name, *map(str, command)], check=True)
        seconds, peak_mib, status, output = json.loads(Path(report.name).read_text())
    if status:
        raise SystemExit(f"{' '.join(map(str, command))} ended with {status}:\n{output}")
    return Usage(seconds, peak_mib, output)
