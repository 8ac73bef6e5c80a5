"""Processes of this project that do not outlive the one they work for, however that ends."""

import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import psutil

from tasks.core.paths import PROJECT_FOLDER

_WATCH_SECONDS = 1.0
_STOP_SECONDS = 60.0
_NOT_PASSED_ON = ("PYTHONFAULTHANDLER", "PYTHONDEVMODE")
"""Variables with which Python writes pages about a crash."""


def start(module: str, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    """Run `python -P -m MODULE OWNER ARGUMENTS...`; nothing in the working directory is imported.

    Args:
        module: one of this project; it is to call `end_with(OWNER)`.
        arguments: further ones.
        options: of `subprocess.Popen`.

    Raises:
        OSError: it can't be started.
    """
    environment = {name: value for name, value in os.environ.items() if name not in _NOT_PASSED_ON}
    path = os.pathsep.join(filter(None, (str(PROJECT_FOLDER), os.environ.get("PYTHONPATH"))))
    return subprocess.Popen(
        [sys.executable, "-P", "-m", module, str(os.getpid()), *arguments],
        env={**environment, "PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        **options,
    )


def end_with(owner: int, *, gently: bool = False) -> None:
    """From now on watch the owner; when it has ended, end this process.

    Args:
        owner: its process id.
        gently: with SIGTERM first, and a minute for it.
    """
    threading.Thread(target=_watch, args=(owner, gently), daemon=True).start()


def _watch(owner: int, gently: bool) -> None:
    try:
        process = psutil.Process(owner)
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            time.sleep(_WATCH_SECONDS)
    except psutil.NoSuchProcess:
        pass
    if gently:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_STOP_SECONDS)
    os._exit(1)
