"""Exports in processes that are forked with their imports done, as those of sweeps are: hundreds of them in minutes."""

import multiprocessing
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path

from flows.processes.temporary_server import TemporaryServer
from flows.processes.warm_process import PRELOADED


class WarmExport:
    """A command line of flows/export.py in a process and a session of its own, with what `subprocess.Popen` has."""

    def __init__(
        self, context: ForkServerContext, arguments: list[str], environment: Mapping[str, str], folder: Path
    ) -> None:
        receiver, sender = context.Pipe(duplex=False)
        given = (sender, arguments, dict(environment), folder)
        self._process = context.Process(target=_export, args=given)
        with receiver, sender:
            self._process.start()
            self.stdout = os.fdopen(os.dup(receiver.fileno()), errors="replace")
        self.pid: int = self._process.pid or 0
        self.returncode: int | None = None

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for its end; its exit status, or minus the number of the signal that killed it."""
        self._process.join(timeout)
        self.returncode = self._process.exitcode
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, None]:
        """Read all that it prints, and wait for its end."""
        with self.stdout:
            said = self.stdout.read()
        self.wait(timeout)
        return said, None


@contextmanager
def warm_context(environment: Mapping[str, str]) -> Iterator[tuple[ForkServerContext, str]]:
    """Within this context processes can be forked, and a Prefect server answers at an address.

    Args:
        environment: of both; this process takes it over.
    """
    os.environ |= environment
    server = TemporaryServer()
    server.start()
    try:
        with server.ready():
            from prefect.settings import PREFECT_API_URL

            os.environ["PREFECT_API_URL"] = str(PREFECT_API_URL.value())
            context = multiprocessing.get_context("forkserver")
            context.set_forkserver_preload([*PRELOADED, "flows.command_line.export"])
            yield context, os.environ["PREFECT_API_URL"]
    finally:
        server.stop()


def _export(printed: Connection, arguments: list[str], environment: dict[str, str], folder: Path) -> None:
    os.setsid()
    os.chdir(folder)
    os.environ.update(environment)
    for descriptor in (1, 2):
        os.dup2(printed.fileno(), descriptor)
    printed.close()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    from flows.command_line.export import main

    raise SystemExit(main(arguments))
