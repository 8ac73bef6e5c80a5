"""Processes of one machine that would do the same take turns: whoever comes second finds it done."""

import contextlib
import hashlib
import logging
from collections.abc import Iterator

import filelock

from tasks.core.paths import cache_folder

log = logging.getLogger("assay")

LONGEST_SECONDS = 3600.0
"""After which another process is no longer waited for: it may hang."""


@contextlib.contextmanager
def turn(what: str, key: str) -> Iterator[None]:
    """Within this context no other process of this machine has the turn of the same key.

    Args:
        what: is done in turn, for whoever waits.
        key: any text.
    """
    place = cache_folder() / "turns" / hashlib.sha256(key.encode()).hexdigest()[:16]
    lock = filelock.FileLock(place)  # the kernel frees it when its process ends, in whatever way
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # without a cache nobody waits
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(timeout=0)
            except filelock.Timeout:
                log.info("another process is at %s, too: it is waited for", what)
                with contextlib.suppress(filelock.Timeout):
                    lock.acquire(timeout=LONGEST_SECONDS)
            stack.callback(lock.release)
        yield
