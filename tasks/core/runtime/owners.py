"""Who does something: a process of a machine, as a text by which others see whether it still runs."""

import functools
import os
import socket
from pathlib import Path

_PROC = Path("/proc")


def owner() -> str:
    """This process: host, boot and process namespace, id and start, so that no later process is taken for it."""
    pid = os.getpid()
    return f"{_machine()}/{pid}/{_start_of(pid)}"


def is_of_this_machine(owner: str) -> bool:
    """Could it be seen from here, whether it still runs? After a restart of the machine it could not."""
    return owner.rpartition("/")[0].rpartition("/")[0] == _machine()


def is_alive(owner: str) -> bool:
    """Does a process of this machine still run?

    Args:
        owner: as `owner` gives it there.
    """
    pid, start = owner.split("/")[-2:]
    return pid.isdigit() and _start_of(int(pid)) == start


@functools.cache
def _machine() -> str:
    boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    namespace = (_PROC / "self/ns/pid").stat().st_ino  # containers of one machine may share name and boot
    return f"{socket.gethostname()}/{boot}/{namespace}"


def _start_of(pid: int) -> str:
    """When a process started, in ticks since the boot; empty where there is none, or a dead one is not yet reaped."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]
