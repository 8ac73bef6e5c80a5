"""A real webhook on loopback: a server that keeps the JSON of each POST."""

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any


class Webhook:
    """A real server on loopback that keeps the JSON of each POST, and answers with `status`."""

    def __init__(self) -> None:
        self.news: list[dict[str, Any]] = []
        self.status = 200
        self.came = threading.Condition()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            """Keeps what comes."""

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with outer.came:
                    outer.news.append(body)
                    outer.came.notify_all()
                self.send_response(outer.status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}/hook"

    def first(self, *, event: str, seconds: float = 60) -> dict[str, Any]:
        """The first POST that tells of this event, waited for."""
        with self.came:
            self.came.wait_for(lambda: any(news["event"] == event for news in self.news), timeout=seconds)
            return next(news for news in self.news if news["event"] == event)

    def take(self) -> list[tuple[str, str, str]]:
        """Event, model and verdict of what came since the last call."""
        found = [(news["event"], news["model"], news["verdict"]) for news in self.news]
        self.news.clear()
        return found


@contextlib.contextmanager
def serve_webhook() -> Iterator[Webhook]:
    """A webhook that nobody calls yet."""
    hook = Webhook()
    threading.Thread(target=hook.server.serve_forever, daemon=True).start()
    yield hook
    hook.server.shutdown()
    hook.server.server_close()
