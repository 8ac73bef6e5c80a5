"""A process that shall not outlive the one that started it, however that ends."""

import os
import signal
import threading
import time

_WATCH_SECONDS = 1.0
_STOP_SECONDS = 60.0


def end_with(owner: int, *, gently: bool = False) -> None:
    """From now on watch the owner; when it has ended, end this process.

    Args:
        owner: its process id, which must be this one's parent.
        gently: with SIGTERM first, and a minute for it.
    """
    threading.Thread(target=_watch, args=(owner, gently), daemon=True).start()


def _watch(owner: int, gently: bool) -> None:
    while os.getppid() == owner:
        time.sleep(_WATCH_SECONDS)
    if gently:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_STOP_SECONDS)
    os._exit(1)
