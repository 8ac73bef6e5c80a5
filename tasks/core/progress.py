"""How far a long step is: log records that carry `progress`, for displays to show."""

import logging
import time

log = logging.getLogger("assay")

_SECONDS = 0.2
"""No more often."""


class Progress:
    """Counts what is done of something that takes long, and tells it now and then, with the time that is left."""

    def __init__(self, what: str, total: float) -> None:
        """Begin.

        Args:
            what: is counted, with `{done}` and `{total}`, e.g. `probe {done:.0f} of {total:.0f}`.
            total: all of it; 0: nobody knows.
        """
        self._what, self._total, self._done = what, total, 0.0
        self._started = self._told = time.monotonic()

    def advance(self, by: float = 1.0) -> None:
        """Count some more."""
        self._done += by
        now = time.monotonic()
        if now - self._told < _SECONDS or not log.isEnabledFor(logging.DEBUG):
            return
        self._told = now
        left = (now - self._started) * (self._total - self._done) / self._done if self._done else 0.0
        said = self._what.format(done=self._done, total=self._total)
        log.debug("%s%s", said, f", about {left:.0f} s left" if left >= 1 else "", extra={"progress": True})
