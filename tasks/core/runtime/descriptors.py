"""File descriptors 1 and 2: Python's streams leave them, so that what C and C++ print there can be silenced alone."""

import contextlib
import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

_STREAMS = {"stdout": 1, "stderr": 2}
_lock = threading.Lock()
_kept: dict[int, int] = {}
"""Copies of the descriptors that are silenced now."""
_num_inside = 0


def leave_descriptors() -> None:
    """Let `sys.stdout` and `sys.stderr` write to where they write, but by descriptors of their own."""
    for name, descriptor in _STREAMS.items():
        stream = getattr(sys, name)
        if _descriptor_of(stream) == descriptor:
            stream.flush()
            buffering = 1 if stream.line_buffering else -1
            options = {"encoding": stream.encoding, "errors": stream.errors}
            setattr(sys, name, os.fdopen(os.dup(descriptor), "w", buffering, **options))


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Within this context nothing reaches a descriptor that Python's streams have left; those of all threads go on."""
    global _num_inside
    with _lock:
        _num_inside += 1
        if _num_inside == 1:
            _silence()
    try:
        yield
    finally:
        with _lock:
            _num_inside -= 1
            if _num_inside == 0:
                _restore()


def _silence() -> None:
    _flush_c()
    used = {_descriptor_of(sys.stdout), _descriptor_of(sys.stderr)}
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in set(_STREAMS.values()) - used:
        with contextlib.suppress(OSError):  # a service may have closed it
            _kept[descriptor] = os.dup(descriptor)
            os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _restore() -> None:
    _flush_c()
    for descriptor, copy in _kept.items():
        os.dup2(copy, descriptor)
        os.close(copy)
    _kept.clear()


def _descriptor_of(stream: Any) -> int | None:
    try:
        return int(stream.fileno())
    except (AttributeError, OSError, ValueError):  # a notebook's, or closed
        return None


def _flush_c() -> None:
    """What waits in the buffers of C goes where it was meant to go."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).fflush(None)
