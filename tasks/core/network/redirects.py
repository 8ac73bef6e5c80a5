"""Where a download may be sent on to: over HTTP only, and not from the internet into a network that it can't see."""

import ipaddress
import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tasks.core.errors import WeightsError
from tasks.core.sentences import without_secrets

if TYPE_CHECKING:
    import httpx


class RedirectRule:
    """Looks at each request of a download before it is sent; the first one is the user's own."""

    def __init__(self, address: str) -> None:
        """Make the rule for a download that starts at an address."""
        self._starts_inside = _is_inside(urlsplit(address).hostname or "")
        self._start = without_secrets(address)

    def __call__(self, request: "httpx.Request") -> None:
        """Refuse a request that leads where the start does not allow.

        Raises:
            WeightsError: it is no HTTP, or leads from a public address to this machine or a private network.
        """
        target = without_secrets(str(request.url))
        if request.url.scheme not in ("http", "https"):
            raise WeightsError(f"{self._start} sends on to {target}, which is no HTTP; give the file's own address.")
        if not self._starts_inside and _is_inside(request.url.host):
            raise WeightsError(
                f"{self._start} sends on to {target}, on this machine or in a private network, which nobody outside "
                f"may choose; give that address itself, if you mean it."
            )


def _is_inside(host: str) -> bool:
    """Is it this machine, or in a network that is not the internet's? What can't be resolved here is not."""
    try:
        found = {info[4][0] for info in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):
        return False
    return any(not ipaddress.ip_address(str(address).partition("%")[0]).is_global for address in found)
