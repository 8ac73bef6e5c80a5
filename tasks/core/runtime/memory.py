"""Give freed memory back to the system, so that what never exists at once never adds up.

glibc keeps what was freed in pieces of less than 32 MB: a ResNet-50's session, gone, still held 212 MiB, the next
one took 260 MiB more, and so on.
"""

import contextlib
import ctypes
import sys
from collections.abc import Iterator

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt, from malloc.h."""
_SMALL = 1 << 20
_USUAL = 32 << 20
"""What glibc itself settles at as blocks of that size come and go; mapping each takes 3 s of a ResNet-50's proof."""


def give_back() -> None:
    """Return all pages that are free; nothing happens where the C library can't."""
    if (libc := _glibc()) is not None:
        libc.malloc_trim(0)


@contextlib.contextmanager
def given_back() -> Iterator[None]:
    """Within this context blocks of 1 MB and more are mapped one by one, and go back when they are freed.

    For work that takes many copies of weights one after another. What is free goes back at both ends.
    """
    libc = _glibc()
    if libc is None:
        yield
        return
    libc.malloc_trim(0)
    libc.mallopt(_MMAP_THRESHOLD, _SMALL)
    try:
        yield
    finally:
        libc.mallopt(_MMAP_THRESHOLD, _USUAL)
        libc.mallopt(_TRIM_THRESHOLD, 2 * _USUAL)
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    return libc if hasattr(libc, "malloc_trim") else None
