"""A PostgreSQL of the tests' own: a new cluster in a temporary folder, on a free port of loopback."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

_USER = "nobody"
"""Whom it runs as where the tests are root's, which PostgreSQL refuses."""
_FAST = "-c fsync=off -c full_page_writes=off -c synchronous_commit=off"
"""What it holds is thrown away."""


def programs() -> Path | None:
    """The folder with PostgreSQL's programs; Debian keeps them out of PATH. None: it is not installed."""
    found = shutil.which("pg_ctl")
    folders = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return folders[-1] if folders and (folders[-1] / "initdb").exists() else None


class Cluster:
    """A cluster that runs; databases are made in it and its process is signalled."""

    def __init__(self, port: int, process_id: int) -> None:
        self.port, self.process_id = port, process_id

    def database(self, name: str) -> str:
        """The address of a new, empty database for MLFLOW_TRACKING_URI.

        Args:
            name: of it, in small letters.
        """
        import psycopg2

        with closing(psycopg2.connect(host="127.0.0.1", port=self.port, user="assay", dbname="postgres")) as server:
            server.autocommit = True
            server.cursor().execute(f"create database {name}")
        return f"postgresql://assay@127.0.0.1:{self.port}/{name}"


@contextmanager
def postgresql() -> Iterator[Cluster]:
    """Within this context a cluster runs, as a user without rights where this process is root's."""
    folder = Path(tempfile.mkdtemp(prefix="assay-pg-"))
    data, log = folder / "data", folder / "log"
    who = {}
    if os.getuid() == 0:
        who = {"user": _USER, "group": "nogroup", "extra_groups": []}
        shutil.chown(folder, _USER, "nogroup")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def run(program: str, *arguments: str) -> None:
        command = [str(_installed() / program), "-D", str(data), *arguments]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, timeout=180, **who)  # type: ignore[call-overload]

    try:
        run("initdb", "-U", "assay", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        run("pg_ctl", "start", "-w", "-t", "120", "-l", str(log), "-o", f"-p {port} -h 127.0.0.1 -k '' {_FAST}")
        yield Cluster(port, int((data / "postmaster.pid").read_text().split()[0]))
    finally:
        with suppress(subprocess.CalledProcessError):  # a test may have ended it
            run("pg_ctl", "stop", "-w", "-m", "immediate")
        shutil.rmtree(folder, ignore_errors=True)


def _installed() -> Path:
    found = programs()
    if found is None:
        sys.exit("PostgreSQL is not installed; Debian has it as `postgresql`.")
    return found
