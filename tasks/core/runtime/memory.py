"""Return freed memory to the system, so that the peak is of what exists at once, not of all that ever did.

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


def release_free_memory() -> None:
    """Return all free pages to the system; does nothing where the C library is not glibc."""
    if (libc := _glibc()) is not None:
        libc.malloc_trim(0)


@contextlib.contextmanager
def freed_eagerly() -> Iterator[None]:
    """Within this context allocate blocks of 1 MB and more each by a map of its own, returned when it is freed.

    For work that copies weights one after another. All free pages are returned at both ends, too.
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
