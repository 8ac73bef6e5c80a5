"""The error tree, and the exit status of a command that ends with each.

AssayError              2
├── SpecError           2   what was asked for
├── WeightsError        2   the weights
│   ├── NoCheckpointError 2 (weights/foreign_files.py) the file is something else
│   └── NeedsCodeError  2 (weights/foreign_files.py) the file holds more than values
├── ModelError          2   the module
├── InputsError         2   its inputs
├── ExportError         1   no exporter gave a file
│   ├── InterruptError  1   somebody stopped it
│   ├── NarrowedError   1   a dynamic dimension came out narrower than asked
│   └── CrashError      1   a process died
├── OutOfMemoryError    1   the module did not fit into memory
├── SignatureError      1   nobody who is trusted vouches for a file
├── VerdictError        1   the file is not proven
├── SweepError          1   not every model of a sweep is
└── ServiceError        3   a service could not be reached
"""

import contextlib
import copyreg
import errno
import signal
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.core.sentences import LONGEST, sentence, without_secrets

_OWN_FOLDER = f"{Path(__file__).parent}/"
_FAULTS = (AssertionError, AttributeError, LookupError, NameError, TypeError)
"""What a mistake in Python code ends in; PyTorch's operators refuse with a RuntimeError."""


_INTERRUPTIONS = ("KeyboardInterrupt", "TerminationSignal")
"""Names of Python's and Prefect's exceptions."""

Limits = tuple[int | None, int | None]
"""Least and largest size of a dimension; None: not limited."""


class AssayError(Exception):
    """Root of every deliberate error; its message is one sentence with the fact, the number and the fix."""

    exit_status = 2
    longest = LONGEST
    """Characters of its message: what it quotes is cut."""
    run_id: str | None = None
    """MLflow run that recorded it, if any."""
    run_url: str = ""

    def __init__(self, message: str = "") -> None:
        super().__init__(sentence(message, longest=self.longest))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by class, arguments and attributes, whatever the constructor of a subclass takes."""
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class SpecError(AssayError):
    """What was asked for can't be understood, or contradicts itself."""


class WeightsError(AssayError):
    """The weights are wrong: hash, format, keys or shapes."""


class ModelError(AssayError):
    """The model can't be built, or does not run on its inputs."""


class InputsError(AssayError):
    """No example input can be made from what was declared."""


class ExportError(AssayError):
    """No exporter gave a file that does what was asked."""

    exit_status = 1


class NarrowedError(ExportError):
    """torch.export found that a dynamic dimension may not have every size that was asked for."""

    def __init__(self, message: str, limits: Mapping[str, Limits], exported: Any) -> None:
        """Make it of the least and largest size that it allows, by dimension, and of what it exported for these."""
        super().__init__(message)
        self.limits, self.exported = limits, exported

    @property
    def beyond(self) -> dict[str, tuple[int, ...]]:
        """The sizes next to the allowed ones, where another exporter's file must hold."""
        return {
            name: (*([] if low is None else [low - 1]), *([] if high is None else [high + 1]))
            for name, (low, high) in self.limits.items()
        }


class InterruptError(ExportError):
    """Somebody stopped it, with Ctrl-C or a signal."""


class CrashError(ExportError):
    """The process that exported died, or hung and was stopped."""


class OutOfMemoryError(AssayError):
    """The module did not fit into memory, which says nothing of the module or the file."""

    exit_status = 1


class SignatureError(AssayError):
    """A file bears no signature, or one that does not hold, of the key that is trusted."""

    exit_status = 1


class VerdictError(AssayError):
    """The file was made and logged, and is not proven; holds the `ExportResult`."""

    exit_status = 1

    def __init__(self, complaint: str, result: Any) -> None:
        super().__init__(complaint)
        self.result = result


class SweepError(AssayError):
    """The sweep came to its end, and not every model is proven; holds every `ExportResult`."""

    exit_status = 1

    def __init__(self, complaint: str, results: list[Any]) -> None:
        super().__init__(complaint)
        self.results = results


class ServiceError(AssayError):
    """A service (a download host, MLflow, Prefect) could not be reached."""

    exit_status = 3


def as_assay_error(error: BaseException, title: str) -> AssayError:
    """Whatever ended an attempt, as one sentence.

    Args:
        error: a deliberate error, which is given back, or anything that a model's code or a library raised.
        title: name of the model.
    """
    import httpx

    if isinstance(error, AssayError):
        return error
    said = one_line(error)
    if is_interruption(error):
        known: AssayError = InterruptError(f"{title} was interrupted.")
    elif isinstance(error, httpx.TransportError | httpx.HTTPStatusError):
        known = ServiceError(f"Prefect's server could not be reached ({error}); check PREFECT_API_URL, or unset it.")
    elif isinstance(error, TimeoutError):
        known = ExportError(f"{title} took longer than its step may take ({error}).")
    elif isinstance(error, MemoryError):
        known = ExportError(f"{title} found too little memory ({said or 'MemoryError'}); free some, and go on.")
    elif isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        known = SpecError(f"{error.filename} is too long for the name of a file; give a shorter one.")
    elif isinstance(error, OSError) and error.errno == errno.ENOSPC:
        known = ExportError(f"{title} found no room on the disk ({said}); make some, and go on.")
    else:
        known = ExportError(f"{title} met a defect, {type(error).__name__}: {said}; --verbose shows where.")
    known.run_id, known.run_url = getattr(error, "run_id", None), getattr(error, "run_url", "")
    return known


def is_interruption(error: BaseException) -> bool:
    """Is it Ctrl-C or Prefect's TerminationSignal, or what a library made of one of them?"""
    if not isinstance(error, Exception | SystemExit | GeneratorExit):
        return True
    seen: BaseException | None = error
    while seen is not None and type(seen).__name__ not in _INTERRUPTIONS:
        seen = seen.__cause__ or seen.__context__
    return seen is not None


def exit_status_of(class_name: str) -> int:
    """The exit status of a command that ends with an error of this class, by the name that results carry."""
    classes: list[type[AssayError]] = [AssayError]
    for kind in classes:  # grows on the way
        classes += kind.__subclasses__()
    # a class that this process has not imported is one of the export's own
    return next((kind.exit_status for kind in classes if kind.__name__ == class_name), ExportError.exit_status)


def one_line(said: object) -> str:
    """The text of an exception or another object on one line, cut at 300 characters, without a final full stop.

    Of TorchScript's pages, the last line: the error that it met.
    """
    text = str(said).strip()
    text = text.splitlines()[-1] if "Traceback of TorchScript" in text else text
    return without_secrets(" ".join(text.split()))[:300].rstrip(".")


def is_out_of_memory(error: BaseException) -> bool:
    """Was memory exhausted? PyTorch's allocator says so in a RuntimeError of its own words."""
    words = ("can't allocate memory", "not enough memory", "out of memory", "std::bad_alloc")
    return isinstance(error, MemoryError) or any(word in str(error) for word in words)


def refusal_of(error: Exception, network: object, *, where: str) -> str:
    """What the module says, in one line.

    Args:
        error: what its call raised.
        network: the module.
        where: sizes and kind of run, for a sentence.

    Raises:
        OutOfMemoryError: memory ran out, which says nothing of the module.
        Exception: the error itself, if the mistake is Assay's.
    """
    if is_out_of_memory(error):
        raise OutOfMemoryError(
            f"Memory ran out while {type(network).__name__} ran at {where}: {one_line(error) or type(error).__name__}; "
            f"free some, or bound the sizes of its inputs (NAME=DTYPE[WORD:LOW..HIGH])."
        ) from error
    if is_own_fault(error):
        raise error
    return one_line(f"{type(error).__name__}: {error}")


def is_own_fault(error: BaseException) -> bool:
    """Was it raised by a mistake in Assay's own code, not in the module or in what it calls?"""
    files = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)]
    return isinstance(error, _FAULTS) and files != [] and files[-1].startswith(_OWN_FOLDER)


def cause_of_death(status: int | None) -> str:
    """How a process ended, for a sentence; its status is minus the number of the signal that killed it, if any."""
    if status is not None and status < 0:
        with contextlib.suppress(ValueError):
            name = signal.Signals(-status).name
            hint = ", as the kernel does when memory runs out" if name == "SIGKILL" else ""
            return f"was killed by {name} (signal {-status}){hint}"
    return f"ended with status {status}"


def some(names: list[str], *, most: int = 8) -> str:
    """The first few names, for a sentence.

    Args:
        names: all of them.
        most: so many are written out; the rest is counted.
    """
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
