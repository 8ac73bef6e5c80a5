"""SIGTERM, Ctrl-C and a closed terminal end a command alike; what is sent while it cleans up does not disturb that."""

import signal
import time
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
CLEANING_SECONDS = 15.0
"""After which another signal interrupts even the cleaning up."""
_last = -CLEANING_SECONDS


def listen(*signals: signal.Signals) -> None:
    """From now on these signals raise KeyboardInterrupt, in the main thread; one that nohup ignores stays ignored.

    Args:
        signals: one or more of `SIGNALS`.
    """
    global _last
    _last = -CLEANING_SECONDS
    for number in signals:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    global _last
    if time.monotonic() - _last > CLEANING_SECONDS:
        _last = time.monotonic()
        raise KeyboardInterrupt
