"""Processes that end when the process that started them, their owner, has ended, even by SIGKILL.

python -P -m tasks.core.runtime.owned_processes MODULE ARGUMENTS...

Their standard input is a pipe whose write end only the owner holds and never writes to: the kernel closes it with the
owner, and whoever waits for it to become readable knows.
"""

import os
import runpy
import signal
import subprocess
import sys
import threading
import time
import weakref
from multiprocessing.connection import wait
from typing import Any

from tasks.core.paths import PROJECT_FOLDER

_STOP_SECONDS = 60.0
_NOT_PASSED_ON = ("PYTHONFAULTHANDLER", "PYTHONDEVMODE")
"""Variables with which Python writes pages about a crash."""
_owned: weakref.WeakSet[subprocess.Popen[bytes]] = weakref.WeakSet()


def start(module: str, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    """Run a module as `python -m` does; nothing in the working directory is imported.

    Args:
        module: its name.
        arguments: its command-line arguments.
        options: keyword arguments of `subprocess.Popen`.

    Raises:
        OSError: it can't be started.
    """
    environment = {name: value for name, value in os.environ.items() if name not in _NOT_PASSED_ON}
    path = os.pathsep.join(filter(None, (str(PROJECT_FOLDER), os.environ.get("PYTHONPATH"))))
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", __name__, module, *arguments],
        env={**environment, "PYTHONPATH": path},
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        **options,
    )
    _owned.add(process)
    return process


def end_with_owner(sentinel: int = 0, *, gently: bool = False) -> None:
    """End this process once its owner has ended; returns at once.

    Args:
        sentinel: file descriptor that becomes readable then; the default is the standard input that `start` gives.
        gently: send SIGTERM first, and allow 60 s for it.
    """
    threading.Thread(target=_end_after, args=(sentinel, gently), daemon=True).start()


def _end_after(sentinel: int, gently: bool) -> None:
    wait([sentinel])
    if gently:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_STOP_SECONDS)
    os._exit(1)


def _disown() -> None:
    """Close the write ends in a fork of the owner: it may live longer."""
    for process in _owned:
        if process.stdin is not None:
            process.stdin.close()


os.register_at_fork(after_in_child=_disown)

if __name__ == "__main__":
    end_with_owner(gently=True)
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__")
