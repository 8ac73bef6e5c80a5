"""Prefect's temporary server, started early and in the background where no server is configured."""

import threading

from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import PREFECT_API_URL, get_current_settings

from tasks.core.errors import ServiceError

STARTUP_SECONDS = 120


class TemporaryServer:
    """The server that Prefect itself would start at the first flow, seconds later."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: RuntimeError | None = None
        self._had_database = (get_current_settings().home / "prefect.db").exists()

    def start(self) -> None:
        """Start it, unless one is configured; returns at once."""
        if PREFECT_API_URL.value() or not get_current_settings().server.ephemeral.enabled:
            return
        self._thread = threading.Thread(target=self._start, daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait until it answers.

        Raises:
            ServiceError: it did not start.
        """
        if self._thread is not None:
            self._thread.join()
        if self._error is not None:
            raise ServiceError(f"Prefect's temporary server did not start ({self._error}); set PREFECT_API_URL to one.")

    def stop(self) -> None:
        """Stop it; in the middle of its start only if its database existed, or it might be half made."""
        if self._thread is None:
            return
        server = SubprocessASGIServer()
        if self._had_database and self._thread.is_alive() and server.server_process:
            server.server_process.terminate()
            return
        self._thread.join()
        server.stop()

    def _start(self) -> None:
        try:
            SubprocessASGIServer().start(timeout=STARTUP_SECONDS)
        except RuntimeError as error:
            self._error = error
