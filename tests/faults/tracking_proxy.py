"""A way to a tracking server that fails as it is told to: a real socket between MLflow's client and its server."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

HANG_SECONDS = 60.0


class TrackingProxy(ThreadingHTTPServer):
    """Forwards requests; those whose path holds `failing` get the answer of `fault`."""

    daemon_threads = True

    def __init__(self, target: str = "") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target, self.failing, self.fault = target, "", ""

    @property
    def address(self) -> str:
        """For MLFLOW_TRACKING_URI."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: TrackingProxy
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        server = self.server
        if server.fault and server.failing in self.path:
            self._fail(server.fault)
            return
        headers = {key: value for key, value in self.headers.items() if key.lower() not in ("host", "content-length")}
        answer = httpx.request(self.command, server.target + self.path, content=body, headers=headers, timeout=120)
        self._send(answer.status_code, answer.content, answer.headers.get("content-type", "text/plain"))

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815

    def _fail(self, fault: str) -> None:
        if fault == "hangs":
            time.sleep(HANG_SECONDS)
        elif fault == "dies":
            self.close_connection = True
            self.connection.close()
        elif fault == "garbage":
            self._send(200, b"<html>Welcome</html>" * 500, "text/html")
        else:
            self._send(int(fault), b"no", "text/plain")

    def _send(self, status: int, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Retry-After", "300")
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def tracking_proxy(target: str = "") -> Iterator[TrackingProxy]:
    """Within this context it serves.

    Args:
        target: address of the real server.
    """
    with TrackingProxy(target) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
