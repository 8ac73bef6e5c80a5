"""Memory and time of a process that exports hundreds of times: nothing changed in a row, and a sweep of tiny models.

    python tests/benchmarks/endurance.py [--times 300] [--workers 2] [--write docs/reliability.md]

One process exports a model that did not change, again and again; another one is the driver of a sweep of as many
models. After each sixth, the resident memory of that process alone, and the time that each of the sixth took.
The exit status is 1 if memory grew by more than a tenth between the first sixth and the last, or time by half.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import psutil

PROJECT = Path(__file__).resolve().parents[2]
sys.path[0] = str(PROJECT)  # `tests` is not installed

from tests.faults.table import write_rows  # noqa: E402

BLOCKS = 6
MODELS = """
from torch import nn

def sized(number):
    class Net(nn.Sequential):
        def __init__(self):
            super().__init__(nn.Linear(6, 8 + number), nn.ReLU(), nn.Linear(8 + number, 4))
    return Net

for number in range({times}):
    globals()[f"Net{{number}}"] = sized(number)
"""
UNCHANGED = """
from flows.export import ExportSpec, export_model
from flows.processes.prefect_address import unheard
from flows.processes.temporary_server import TemporaryServer

spec = ExportSpec(model="models.py:Net0", inputs=["input=float32[batch,6]"], weights="random", exporter="torchscript")
server = TemporaryServer()
server.start()
with server.ready(), unheard():
    export_model(spec)
    for number in range({times}):
        assert export_model(spec).unchanged
        print(f"{{number + 1}}/{times}", flush=True)
"""
_GROWTH, _SLOWING = 1.1, 1.5


def main() -> int:
    """Measure both, a line whenever a sixth is done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=300)
    parser.add_argument("--workers", type=int, default=2, help="processes of the sweep")
    parser.add_argument("--write", type=Path, help="write the rows of the table there")
    options = parser.parse_args()
    names = [f"models.py:Net{number}" for number in range(options.times)]
    sweep = ["flows/sweep.py", *names, "--weights=random", "--input=input=float32[batch,6]", "--exporter=torchscript"]
    parts = {
        "unchanged, in one process": ["-c", UNCHANGED.format(times=options.times)],
        "a sweep, its driver": [str(PROJECT / sweep[0]), *sweep[1:], f"--workers={options.workers}"],
    }
    rows, is_flat = {}, True
    for what, arguments in parts.items():
        sizes, moments = zip(*_measured(arguments, options.times), strict=True)
        marks = [f"after {options.times * block // BLOCKS}" for block in range(1, BLOCKS + 1)]
        seconds = [BLOCKS * (end - start) / options.times for start, end in pairwise(moments)]
        is_flat &= sizes[-1] <= _GROWTH * sizes[1] and seconds[-1] <= _SLOWING * seconds[0]
        rows[f"{what}: MB"] = Counter(dict(zip(marks, (round(size / 1e6) for size in sizes[1:]), strict=True)))
        rows[f"{what}: ms each"] = Counter(dict(zip(marks, (round(1000 * each) for each in seconds), strict=True)))
        print(what, rows, flush=True)
    if options.write:
        write_rows(options.write, rows, part="endurance")
    return int(not is_flat)


def _measured(arguments: list[str], times: int) -> Iterator[tuple[int, float]]:
    """Run Python with a store and caches of its own; its memory in bytes, and the time, at the first and each sixth.

    Args:
        arguments: of Python; it prints a line with `NUMBER/TIMES` for each that is done.
        times: so many are done.
    """
    with tempfile.TemporaryDirectory(prefix="ae") as folder:
        Path(folder, "models.py").write_text(MODELS.format(times=times))
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "MLFLOW_"))}
        environment |= {
            "PYTHONPATH": str(PROJECT), "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1",
            "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db", "_MLFLOW_SERVER_ARTIFACT_ROOT": f"{folder}/mlruns",
            "PREFECT_HOME": f"{folder}/prefect", "ASSAY_CACHE": f"{folder}/cache",
        }  # fmt: skip
        command = [sys.executable, *arguments]
        with subprocess.Popen(command, env=environment, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            wanted = {f"{max(1, times * block // BLOCKS)}/{times}" for block in range(BLOCKS + 1)}
            for line in process.stdout:
                if wanted & set(line.split()[:1]):
                    print(line, end="", flush=True)
                    yield psutil.Process(process.pid).memory_info().rss, time.monotonic()
        if process.returncode:
            raise SystemExit(f"{arguments[0]} ended with status {process.returncode}")


if __name__ == "__main__":
    raise SystemExit(main())
