"""The line of a model's own code behind a call of PyTorch: the innermost frame outside PyTorch."""

import itertools
import re
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from types import FrameType

_ASSAY = f"{Path(__file__).parents[1]}/"
_INSTALLED = re.compile(r"/(site|dist)-packages/|/lib/python\d\.\d+/")
SourceLine = tuple[str, int]
"""Path of a file as Python knows it, and the number of a line."""
_TORCH = f"{Path(str(getattr(find_spec('torch'), 'origin', ''))).parent}/"
_TRACE_FRAME = re.compile(r'File "([^"]+)", line (\d+)')


def callers(frame: FrameType | None) -> Iterator[SourceLine]:
    """Lines of a frame and of its callers, innermost first."""
    while frame is not None:
        yield frame.f_code.co_filename, frame.f_lineno
        frame = frame.f_back


def lines_of_trace(text: str) -> list[SourceLine]:
    """Lines of a formatted stack trace, innermost first."""
    return [(file, int(line)) for file, line in reversed(_TRACE_FRAME.findall(text))]


def innermost(lines: Iterable[SourceLine]) -> SourceLine | None:
    """The first line, of those given innermost first, that is in a file outside PyTorch; None if there is none."""
    return next(((file, line) for file, line in lines if is_outside_torch(file)), None)


def innermost_own(lines: Iterable[SourceLine]) -> SourceLine | None:
    """The first line, of those given innermost first, that is no installed library's; else as `innermost`.

    What called the model, Assay's own code, is left aside.
    """
    called = itertools.dropwhile(lambda line: line[0].startswith(_ASSAY), lines)
    inside = list(itertools.takewhile(lambda line: not line[0].startswith(_ASSAY), called))
    own = [line for line in inside if is_outside_torch(line[0]) and not _INSTALLED.search(line[0])]
    return own[0] if own else innermost(inside)


def is_outside_torch(file: str) -> bool:
    """Is it a file of Python code that is no part of PyTorch?"""
    return not file.startswith((_TORCH, "<"))


def without_folder(found: SourceLine | None) -> str:
    """A line as `package/file.py:LINE` if its package is installed, else as `file.py:LINE`; empty for None."""
    if found is None:
        return ""
    file, line = found
    _, is_installed, inside = file.rpartition("site-packages/")
    return f"{inside if is_installed else Path(file).name}:{line}"
