"""The Prefect server that is configured: is its address one, does anybody answer there, does anybody look?"""

import contextlib
from collections.abc import Iterator

import httpx

from tasks.core.errors import ServiceError, SpecError, one_line

START = "start one with `prefect server start` and set PREFECT_API_URL=http://127.0.0.1:4200/api"
"""What to do where no server is."""
_SECONDS = 10.0


def check_address(address: str, *, way_out: str = START) -> None:
    """Check that a Prefect server answers at an address; who asks needs not be allowed in.

    Args:
        address: value of PREFECT_API_URL.
        way_out: what to do where none answers, for the sentence.

    Raises:
        SpecError: it is no address, or that of something else.
        ServiceError: nobody answers.
    """
    try:
        url = httpx.URL(address.rstrip("/") + "/health")
    except httpx.InvalidURL:
        url = httpx.URL()
    if url.scheme not in ("http", "https") or not url.host:
        raise SpecError(f"PREFECT_API_URL={address} is no address of a Prefect server; {way_out}.")
    try:
        # nothing is sent that a certificate would have to protect, and Prefect has options of its own for those
        answer = httpx.get(url, verify=False, timeout=_SECONDS)
    except httpx.TransportError as error:
        said = one_line(error) or type(error).__name__
        raise ServiceError(f"Prefect's server at {address} does not answer ({said}); {way_out}.") from error
    if "html" in answer.headers.get("content-type", ""):
        raise SpecError(f"PREFECT_API_URL={address} is a page, not Prefect's API; that address ends with /api.")


@contextlib.contextmanager
def unheard() -> Iterator[None]:
    """Within this context nothing is told to a temporary server that only other people would read: Prefect's events."""
    from prefect.events.clients import NullEventsClient
    from prefect.events.worker import EventsWorker

    before = EventsWorker._client_override
    if not is_watched():
        EventsWorker.set_client_override(NullEventsClient)
    try:
        yield
    finally:
        EventsWorker._client_override = before


def is_watched() -> bool:
    """Does the Prefect server in use have people who look, and automations? A temporary one has none."""
    from prefect.settings import PREFECT_API_URL, PREFECT_LOGGING_TO_API_ENABLED

    return bool(PREFECT_API_URL.value()) and PREFECT_LOGGING_TO_API_ENABLED.value()
