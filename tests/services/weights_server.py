"""A real HTTP server on loopback that serves weights, well or badly, and remembers what it was asked."""

import contextlib
import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import ClassVar

import pytest

from tests.services.loopback import serving

HTML_PAGE = b"<!DOCTYPE html><html><body>Please log in to download this file.</body></html>"


@dataclass(frozen=True)
class Request:
    """What a client asked for."""

    path: str
    """With the query."""
    range: str | None
    """The Range header."""
    if_range: str | None
    if_none_match: str | None
    authorization: str | None


@dataclass
class WeightsServer:
    """Files to serve by path, switches for misbehaviour, and the requests so far."""

    address: str = ""
    """`http://127.0.0.1:PORT`."""
    files: dict[str, bytes] = field(default_factory=dict)
    """Content by path, `/models/a.pth`; the switches change what is sent, not this."""
    requests: list[Request] = field(default_factory=list)

    etags: bool = True
    """Send an ETag, and honour If-None-Match and If-Range."""
    ranges: bool = True
    """Answer a Range with 206."""
    ignore_if_range: bool = False
    """Break the rules: send the rest of the new file though the old one was named."""
    cut_after: int | None = None
    """Close the connection after so many bytes of body, though Content-Length promises all of it."""
    num_cuts: int = 0
    """How many further answers are cut; set `cut_after`, too."""
    swap_after_cut: bytes | None = None
    """Content that every file has after the next cut."""
    truncate_to: int | None = None
    """Send only the first bytes, with a Content-Length that agrees."""
    status: int | None = None
    """Answer every request with this status."""
    html: bool = False
    """Answer every request with a web page and status 200."""
    redirect_to: str | None = None
    """Answer every request with 302 and this Location."""
    delay_seconds: float = 0.0
    """Wait in the middle of the body."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def url(self, path: str) -> str:
        """The address of a path."""
        return f"{self.address}{path}"

    def put(self, path: str, content: bytes) -> str:
        """Serve a file; return its address."""
        self.files[path] = content
        return self.url(path)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: ClassVar[WeightsServer]

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class names it so
        """Say nothing."""

    def do_GET(self) -> None:  # the base class names it so
        """Answer as the switches say."""
        owner = self.owner
        header = self.headers.get
        with owner.lock:
            owner.requests.append(
                Request(
                    self.path, header("Range"), header("If-Range"), header("If-None-Match"), header("Authorization")
                )
            )
            cut = owner.cut_after if owner.num_cuts > 0 else None
            owner.num_cuts -= cut is not None
        content = owner.files.get(self.path.partition("?")[0])
        if owner.redirect_to is not None:
            return self._send(302, b"", Location=owner.redirect_to)
        if owner.status is not None or content is None:
            return self._send(owner.status or 404, b"out of order")
        if owner.html:
            return self._send(200, HTML_PAGE)
        if owner.truncate_to is not None:
            content = content[: owner.truncate_to]
        self._send_file(content, cut)
        if cut is not None and owner.swap_after_cut is not None:
            owner.files = dict.fromkeys(owner.files, owner.swap_after_cut)
        return None

    def _send_file(self, content: bytes, cut: int | None) -> None:
        owner = self.owner
        etag = f'"{hashlib.sha256(content).hexdigest()[:12]}"'
        validators = {"ETag": etag} if owner.etags else {}
        if owner.etags and self.headers.get("If-None-Match") == etag:
            self._send(304, b"", **validators)
            return
        start = self.headers.get("Range", "").removeprefix("bytes=").removesuffix("-")
        same = owner.ignore_if_range or self.headers.get("If-Range", etag) == etag
        if start and owner.ranges and same:
            span = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self._send(206, content[int(start) :], cut, **validators, **{"Content-Range": span})
        else:
            self._send(200, content, cut, **validators)

    def _send(self, status: int, body: bytes, cut: int | None = None, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        shown = body if cut is None else body[:cut]
        half = len(shown) // 2
        self.wfile.write(shown[:half])
        if self.owner.delay_seconds:
            self.wfile.flush()
            threading.Event().wait(self.owner.delay_seconds)
        self.wfile.write(shown[half:])
        if cut is not None:
            self.close_connection = True


@contextlib.contextmanager
def serve_weights() -> Iterator[WeightsServer]:
    """A server that runs within this context."""
    owner = WeightsServer()
    with serving(type("Handler", (_Handler,), {"owner": owner})) as owner.address:
        yield owner


@contextlib.contextmanager
def serve_outside(monkeypatch: pytest.MonkeyPatch, *inside: str) -> Iterator[WeightsServer]:
    """A proxy that answers for every host within this context, but for those that are `inside`, loopback among them."""
    with serve_weights() as proxy:
        for name in ("http_proxy", "HTTP_PROXY"):
            monkeypatch.setenv(name, proxy.address)
        monkeypatch.setenv("no_proxy", ",".join(("127.0.0.1", *inside)))
        yield proxy
