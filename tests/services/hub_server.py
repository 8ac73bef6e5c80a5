"""A real HTTP server on loopback that answers as Hugging Face's hub, well or badly, and remembers what it was asked."""

import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import ClassVar
from urllib.parse import unquote, urlsplit

from tests.services.loopback import serving

_MAIN = "main"


@dataclass
class HubServer:
    """Models by ORG/NAME, switches for misbehaviour, and the requests so far."""

    address: str = ""
    """`http://127.0.0.1:PORT`."""
    commits: dict[str, dict[str, dict[str, bytes]]] = field(default_factory=dict)
    """Files by path, by commit, by model."""
    refs: dict[str, dict[str, str]] = field(default_factory=dict)
    """Commits by branch or tag, by model."""
    requests: list[tuple[str, str]] = field(default_factory=list)
    """Method and path."""
    ranges: list[str] = field(default_factory=list)
    """Range headers."""

    token: str = ""
    """What Authorization must bring; empty: nothing."""
    gated: bool = False
    """Say of every model that its terms were not accepted."""
    status: int | None = None
    """Answer every request with this status."""
    cut_after: int = 0
    """Close the connection after so many bytes of a file's body."""
    num_cuts: int = 0
    """How many further files are cut."""
    flip: bool = False
    """Send each file with its last byte changed."""
    hangs: bool = False
    """Answer nothing."""
    redirect_to: str = ""
    """Send on to this address whoever asks for a file's content."""
    end: threading.Event = field(default_factory=threading.Event)

    def put(self, repo: str, files: Mapping[str, bytes], *, branch: str = _MAIN) -> str:
        """Commit files as all that a model has, and move a branch there; the commit."""
        digest = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        self.commits.setdefault(repo, {})[digest] = dict(files)
        self.refs.setdefault(repo, {})[branch] = digest
        return digest

    def fetched(self) -> list[str]:
        """Names of the files whose content was asked for."""
        return [path.rpartition("/")[2] for method, path in self.requests if method == "GET" and "/resolve/" in path]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: ClassVar[HubServer]

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class names it so
        """Say nothing."""

    def do_HEAD(self) -> None:  # the base class names it so
        """As GET, without the body."""
        self.do_GET()

    def do_GET(self) -> None:  # the base class names it so
        """Answer as the hub does, and as the switches say."""
        owner, path = self.owner, unquote(urlsplit(self.path).path)
        owner.requests.append((self.command, path))
        if owner.hangs:
            owner.end.wait(60)
            self.close_connection = True
            return None
        if owner.status is not None:
            return self._send(owner.status, b"out of order")
        asked = re.fullmatch(
            r"/(?P<api>api/models/)?(?P<repo>[^/]+/[^/]+)(/(?P<what>revision|tree|resolve)/(?P<rest>.+))?", path
        )
        if asked is None or (repo := asked["repo"]) not in owner.commits:
            return self._send(404, b"{}", code="RepoNotFound")
        if owner.token and self.headers.get("Authorization") != f"Bearer {owner.token}":
            return self._send(401, b"{}", code="RepoNotFound")
        if owner.gated:
            return self._send(403, b"{}", code="GatedRepo")
        revision, _, name = (asked["rest"] or _MAIN).partition("/") if asked["what"] == "resolve" else (
            asked["rest"] or _MAIN, "", ""
        )  # fmt: skip
        commit = owner.refs[repo].get(revision, revision)
        if commit not in owner.commits[repo]:
            return self._send(404, b"{}", code="RevisionNotFound")
        files = owner.commits[repo][commit]
        if asked["what"] == "resolve":
            return self._send_file(files.get(name), commit)
        entries = [_entry(path, content) for path, content in sorted(files.items())]
        said = {"id": repo, "sha": commit, "siblings": [{"rfilename": path} for path in sorted(files)]}
        return self._send(200, json.dumps(entries if asked["what"] == "tree" else said).encode())

    def _send_file(self, content: bytes | None, commit: str) -> None:
        owner = self.owner
        if content is None:
            return self._send(404, b"", code="EntryNotFound", **{"X-Repo-Commit": commit})
        etag = hashlib.sha256(content).hexdigest()
        if owner.redirect_to and self.command == "GET":
            return self._send(302, b"", Location=owner.redirect_to)
        if owner.flip:
            content = content[:-1] + bytes([content[-1] ^ 1])
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": commit}
        start = self.headers.get("Range", "").removeprefix("bytes=").removesuffix("-")
        if start:
            owner.ranges.append(self.headers["Range"])
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            content = content[int(start) :]
        cut = owner.num_cuts > 0 and self.command == "GET" and len(content) > owner.cut_after
        owner.num_cuts -= cut
        return self._send(206 if start else 200, content, cut=owner.cut_after if cut else None, **headers)

    def _send(self, status: int, body: bytes, *, code: str = "", cut: int | None = None, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in {**headers, **({"X-Error-Code": code} if code else {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body if cut is None else body[:cut])
        if cut is not None:
            self.close_connection = True


def _entry(path: str, content: bytes) -> dict[str, object]:
    """A file as listings have it; weights lie in LFS, whose name is their SHA-256."""
    entry: dict[str, object] = {"type": "file", "path": path, "size": len(content), "oid": "0" * 40}
    if path.endswith((".safetensors", ".bin")):
        entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
    return entry


@contextlib.contextmanager
def serve_hub() -> Iterator[HubServer]:
    """A server that runs within this context."""
    owner = HubServer()
    with serving(type("Handler", (_Handler,), {"owner": owner})) as owner.address:
        try:
            yield owner
        finally:
            owner.end.set()
