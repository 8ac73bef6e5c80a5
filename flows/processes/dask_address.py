"""Addresses of Dask schedulers: `tcp://HOST:PORT`, or LOCAL for a cluster on this machine."""

import socket
from urllib.parse import urlsplit

from tasks.core.errors import SpecError

LOCAL = "local"
_LOOPBACK = "127.0.0.1"


def is_this_machine(address: str) -> bool:
    """Do the workers of this scheduler, as far as its address tells, run here?"""
    return address == LOCAL or urlsplit(address).hostname in (_LOOPBACK, "localhost", "::1")


def host_seen_from(address: str | None) -> str:
    """This machine's address as the scheduler's machine sees it; loopback where there is no other machine."""
    if address in (None, LOCAL):
        return _LOOPBACK
    parts = urlsplit(str(address))
    if not parts.scheme or not parts.hostname or not parts.port:
        raise SpecError(
            f"--dask {address} is no address of a scheduler; write --dask tcp://HOST:PORT, or for a cluster on "
            f"this machine --dask alone, after the models."
        )
    with socket.socket(type=socket.SOCK_DGRAM) as probe:  # sends nothing
        try:
            probe.connect((parts.hostname, parts.port))
        except OSError as error:
            raise SpecError(f"--dask {address} names a host that can't be found ({error}).") from error
        return str(probe.getsockname()[0])
