"""Addresses of weights: what they name, what they promise, where else to ask."""

import os
import re
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import httpx

from tasks.core.errors import SpecError

_HASH_IN_NAME = re.compile(r"[-_]([0-9a-f]{8,64})\.[A-Za-z0-9.]+$")
"""torch.hub's convention, `name-7be5be79.pth`; quantized weights write `name_37f702c5.pth`."""
_DATE = re.compile(r"(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])")
"""`resnet-20240315.pth` names a day, not a hash."""


def split_url(url: str) -> tuple[str, str, str | None]:
    """Split a URL into (address without fragment, base name, expected SHA-256 or its first digits).

    Raises:
        SpecError: the address is malformed, or the fragment states a hash other than `#sha256=HEX`.
    """
    try:
        parts = urlsplit(url)
        httpx.URL(url)
    except (ValueError, httpx.InvalidURL) as error:  # whose text may hold a password
        raise SpecError("The address of the weights is malformed; write https://host/path/file.pth.") from error
    name = Path(parts.path).name
    if not parts.hostname or name in ("", ".."):
        raise SpecError(f"{without_query(url)} names no file; give the address of a weights file.")
    expected: str | None = None
    if stated := [word for word in parts.fragment.split("&") if "=" in word]:
        match = re.fullmatch(r"sha256=([0-9a-fA-F]{8,64})", "&".join(stated))
        if match is None:
            raise SpecError(f"#{parts.fragment} is no hash; write #sha256= and at least 8 hexadecimal digits.")
        expected = match[1].lower()
    elif (named := _HASH_IN_NAME.search(name)) and not _DATE.fullmatch(named[1]):
        expected = named[1]
    return urlunsplit(parts._replace(fragment="")), name, expected


def split_part(text: str) -> tuple[str, str]:
    """Split weights into (file, URL or URI, label of the set that is meant, e.g. `state_dict_ema`; or empty).

    A URL's fragment may hold both, `#sha256=HEX&state_dict_ema`; a file's own name may have a `#` in it.
    """
    if text.startswith(("http://", "https://")):
        address, _, fragment = text.partition("#")
        words = fragment.split("&")
        stated = "&".join(word for word in words if "=" in word)
        return f"{address}#{stated}" if stated else address, "".join(word for word in words if "=" not in word)
    place, _, part = text.rpartition("#")
    return (place, part) if place and not Path(text).expanduser().exists() else (text, "")


def without_query(url: str) -> str:
    """The URL without user, password, query and fragment, fit to be recorded."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))


def mirrored(url: str) -> str:
    """Replace scheme and host by those of `ASSAY_WEIGHTS_MIRROR`, if set; a path there is put before."""
    mirror = os.environ.get("ASSAY_WEIGHTS_MIRROR")
    if not mirror:
        return url
    base, parts = urlsplit(mirror), urlsplit(url)
    if base.scheme not in ("http", "https") or not base.netloc:
        shown = without_query(mirror)
        raise SpecError(f"ASSAY_WEIGHTS_MIRROR={shown} is no address; write https://host[/path].")
    return urlunsplit(parts._replace(scheme=base.scheme, netloc=base.netloc, path=base.path.rstrip("/") + parts.path))
