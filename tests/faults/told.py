"""Let each service fail in each way, and measure how long the command takes until the user is told.

python tests/faults/told.py [--write docs/reliability.md]

Each fault meets a command line of its own, in a process that has imported everything. PostgreSQL has to be installed.
"""

import argparse
import contextlib
import math
import os
import signal
import socket
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[2])

from tests.faults.place import Place, warmed  # noqa: E402
from tests.faults.table import write_rows  # noqa: E402
from tests.faults.tracking_proxy import tracking_proxy  # noqa: E402
from tests.services.postgresql import postgresql  # noqa: E402

Environment = dict[str, str]
Fault = Callable[[Path], AbstractContextManager[Environment]]


def main(arguments: list[str] | None = None) -> int:
    """Run the bench; the exit status is 1 if a fault was not told with status 3 in one sentence."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only", default="", help="faults whose name has this")
    parser.add_argument("--write", type=Path, help="write the rows of the table there")
    options = parser.parse_args(arguments)
    rows, is_right = {}, True
    with tempfile.TemporaryDirectory(prefix="al") as folder, warmed(place := Place(Path(folder, "p"))):
        told(place, _of(MLFLOW_TRACKING_URI=DEAD))  # the first process waits for the imports
        for name, fault in FAULTS.items():
            if options.only in name:
                seconds, status, said = told(place, fault)
                print(f"{seconds:5.1f} s, status {status}: {said}", flush=True)
                rows[name] = Counter({"seconds until told": math.ceil(seconds), "exit status": status})
                is_right &= status == 3 and len(said.splitlines()) == 1
    if options.write:
        write_rows(options.write, rows, part="told")
    return int(not is_right)


def told(place: Place, fault: Fault) -> tuple[float, int, str]:
    """Seconds until the command ended, its exit status, and what it said of the error.

    Args:
        place: where it exports.
        fault: takes the folder of the place, in which there is no store.
    """
    kept = dict(place.environment)
    with fault(place.folder) as environment:
        place.environment |= environment
        started = time.monotonic()
        said, _ = (process := place.start(1)).communicate(timeout=600)
        seconds = time.monotonic() - started
    place.environment = kept
    (place.folder / "mlflow.db").unlink(missing_ok=True)
    errors = [line for line in said.splitlines() if line.startswith("error: ") or "Traceback" in line]
    return seconds, int(process.returncode or 0), "\n".join(errors) or said


@contextmanager
def _silent(variable: str, path: str = "") -> Iterator[Environment]:
    """A server that accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield {variable: f"http://127.0.0.1:{server.getsockname()[1]}{path}"}


@contextmanager
def _tracking(fault: str) -> Iterator[Environment]:
    with tracking_proxy() as proxy:
        proxy.fault = fault
        yield {"MLFLOW_TRACKING_URI": proxy.address}


@contextmanager
def _stopped_postgresql() -> Iterator[Environment]:
    with postgresql() as cluster:
        address = cluster.database("stopped")
        os.kill(cluster.process_id, signal.SIGSTOP)
        try:
            yield {"MLFLOW_TRACKING_URI": address}
        finally:
            os.kill(cluster.process_id, signal.SIGCONT)


@contextmanager
def _locked(folder: Path) -> Iterator[Environment]:
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db", isolation_level=None)) as store:
        store.execute("create table alembic_version (version_num)")
        store.execute("begin exclusive")
        yield {}


def _of(**environment: str) -> Fault:
    return lambda _: nullcontext(environment)


def _garbage(folder: Path) -> AbstractContextManager[Environment]:
    (folder / "mlflow.db").write_bytes(b"garbage" * 10_000)
    return nullcontext({})


DEAD = "http://127.0.0.1:9"
FAULTS: dict[str, Fault] = {
    "tracking server not there": _of(MLFLOW_TRACKING_URI=DEAD),
    "tracking server hangs": lambda _: _silent("MLFLOW_TRACKING_URI"),
    "tracking server closes each connection": lambda _: _tracking("dies"),
    "tracking server answers 500": lambda _: _tracking("500"),
    "tracking server answers 503, wait 300 s": lambda _: _tracking("503"),
    "tracking server answers 429, wait 300 s": lambda _: _tracking("429"),
    "tracking server answers a page": lambda _: _tracking("garbage"),
    "SQLite of garbage": _garbage,
    "SQLite locked for good": _locked,
    "PostgreSQL not there": _of(MLFLOW_TRACKING_URI="postgresql://127.0.0.1:9/mlflow"),
    "PostgreSQL hangs": lambda _: _stopped_postgresql(),
    "Prefect server not there": _of(PREFECT_API_URL=f"{DEAD}/api"),
    "Prefect server hangs": lambda _: _silent("PREFECT_API_URL", "/api"),
}

if __name__ == "__main__":
    raise SystemExit(main())
