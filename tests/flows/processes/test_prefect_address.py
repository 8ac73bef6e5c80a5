"""The address of a Prefect server is looked at before the work."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from flows.processes.prefect_address import check_address
from tasks.core.errors import ServiceError, SpecError


class _Page(BaseHTTPRequestHandler):
    """Answers with a page, whatever is asked, as Prefect's UI does."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!DOCTYPE html>")

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def page() -> Iterator[str]:
    """The address of a web page on loopback."""
    with HTTPServer(("127.0.0.1", 0), _Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_server_that_answers_is_fine(prefect_server: str) -> None:
    """With and without a slash at the end."""
    check_address(prefect_server)
    check_address(f"{prefect_server}/")


@pytest.mark.parametrize(
    "address", ["nonsense", "127.0.0.1:4200/api", "ftp://host/api", "http://", "http://h:port/api"]
)
def test_what_is_no_address_is_bad_input(address: str) -> None:
    """Status 2, and what to do."""
    with pytest.raises(SpecError, match="is no address of a Prefect server; start one with"):
        check_address(address)


def test_a_dead_server_is_a_service_out_of_reach() -> None:
    """Status 3, with what the connection met."""
    with pytest.raises(ServiceError, match=r"http://127.0.0.1:9/api does not answer \(.*refused\); unset it"):
        check_address("http://127.0.0.1:9/api", way_out="unset it")


def test_the_address_of_the_ui_is_not_that_of_the_api(page: str) -> None:
    """The one mistake that everybody makes."""
    with pytest.raises(SpecError, match="is a page, not Prefect's API; that address ends with /api"):
        check_address(page)
