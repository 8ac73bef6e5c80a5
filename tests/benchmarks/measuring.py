"""Seconds and peak memory of a command, as the benchmarks measure it."""

import json
import subprocess
import sys
from pathlib import Path

_PROGRAM = """
import json, resource, subprocess, sys, time
start = time.perf_counter()
process = subprocess.run(sys.argv[2:], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
seconds = time.perf_counter() - start
peak_mib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
json.dump([seconds, peak_mib, process.returncode, process.stdout.decode()], open(sys.argv[1], "w"))
"""


def run_measured(command: list[str], folder: Path) -> tuple[float, float]:
    """Seconds and peak MiB of a command, of the largest of its processes.

    Args:
        command: to run.
        folder: to run it in.
    """
    report = folder / "usage.json"
    subprocess.run([sys.executable, "-c", _PROGRAM, str(report), *command], cwd=folder, check=True)
    seconds, peak_mib, status, output = json.loads(report.read_text())
    if status:
        raise SystemExit(f"{' '.join(command)} ended with {status}:\n{output}")
    return seconds, peak_mib
