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
    """Run a module as `python -m` does; nothing in the working directory is imported. OSError: it can't be started.

    Args:
        module: its name.
        arguments: its command-line arguments.
        options: keyword arguments of `subprocess.Popen`.
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


def end_with_owner(sentinel: int) -> None:
    """End this process at once when a file descriptor becomes readable that says that its owner has ended."""
    threading.Thread(target=_end_after, args=(sentinel, 0.0), daemon=True).start()


def _end_after(sentinel: int, grace_seconds: float) -> None:
    wait([sentinel])
    if grace_seconds:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(grace_seconds)
    os._exit(1)


def _disown() -> None:
    """Close the write ends in a fork of the owner: it may live longer."""
    for process in _owned:
        if process.stdin is not None:
            process.stdin.close()


os.register_at_fork(after_in_child=_disown)

if __name__ == "__main__":
    threading.Thread(target=_end_after, args=(0, _STOP_SECONDS), daemon=True).start()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__")
