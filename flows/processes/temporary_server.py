"""A Prefect server for one command, started beside the imports; Prefect's own would start at the first flow."""

import atexit
import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import filelock
import httpx

from flows.processes.prefect_address import check_address
from tasks.core.errors import ServiceError
from tasks.core.runtime import owned_processes

STARTUP_SECONDS = 120
_STOP_SECONDS = 10
_WAY_OUT = "correct PREFECT_API_URL, or unset it to do without a server"


class TemporaryServer:
    """Prefect's server as a child process, on a free port of this address; loopback unless other machines need it."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self._host = host
        self._process: subprocess.Popen[bytes] | None = None
        self._url = ""
        self._home = Path(os.environ.get("PREFECT_HOME") or "~/.prefect").expanduser()
        self._first_start = filelock.FileLock(self._home / "assay-first-start.lock")
        """Held while the database is being created: two servers that create it at once both fail."""

    def start(self) -> None:
        """Start it, unless one is configured; returns at once. It stops when this process ends.

        Raises:
            SpecError: PREFECT_API_URL is no address of a Prefect server.
            ServiceError: nobody answers there.
        """
        if configured := os.environ.get("PREFECT_API_URL"):
            check_address(configured, way_out=_WAY_OUT)
            return
        self._home.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(filelock.Timeout):  # then it may have died; the server itself will say what is wrong
            self._first_start.acquire(timeout=STARTUP_SECONDS)
        if (self._home / "prefect.db").exists():
            self._first_start.release()
        with socket.socket() as free:
            free.bind((self._host, 0))
            port = free.getsockname()[1]
        self._url = f"http://{self._host}:{port}/api"
        # Prefect sends its last logs and events while the interpreter ends; what is registered first runs last
        atexit.register(self.stop)
        self._process = owned_processes.start(
            "prefect", "server", "start", "--no-services", "--no-ui", f"--port={port}", f"--host={self._host}",
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is ours: the flow ends first
        )  # fmt: skip

    @contextlib.contextmanager
    def ready(self) -> Iterator[None]:
        """Wait until it answers; within this context flows use it."""
        from prefect.settings import (
            PREFECT_API_URL,
            PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
            PREFECT_LOGGING_TO_API_ENABLED,
            temporary_settings,
        )  # fmt: skip

        from flows.processes.stale_flow_runs import crash_stale_flow_runs

        if self._process is None or PREFECT_API_URL.value():
            self.stop()
            if not os.environ.get("PREFECT_API_URL"):
                check_address(str(PREFECT_API_URL.value()), way_out=_WAY_OUT)  # of a profile
            crash_stale_flow_runs()
            yield
            return
        self._wait(self._process)
        settings = {
            PREFECT_API_URL: self._url,
            PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,  # nobody listens, and their thread holds up each flow by a second
            PREFECT_LOGGING_TO_API_ENABLED: False,  # nobody will read them there
        }
        with temporary_settings(settings):
            crash_stale_flow_runs()
            yield

    def stop(self) -> None:
        """Stop it, but not before it has created its database."""
        if self._process is None:
            return
        if self._first_start.is_locked:
            with contextlib.suppress(ServiceError):
                self._wait(self._process)
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + STARTUP_SECONDS
        try:
            while time.monotonic() < deadline:
                with contextlib.suppress(httpx.TransportError):
                    if httpx.get(f"{self._url}/health").is_success:
                        return
                if process.poll() is not None:
                    raise ServiceError(
                        f"Prefect's temporary server ended with status {process.returncode}; see why with "
                        f"`prefect server start`, or set PREFECT_API_URL to a running one."
                    )
                time.sleep(0.05)
            said = f"Prefect's temporary server did not answer in {STARTUP_SECONDS} s; set PREFECT_API_URL to one."
            raise ServiceError(said)
        finally:
            self._first_start.release()
