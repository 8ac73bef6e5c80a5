"""The error tree: one root, one subclass per kind of failure, each with its exit status."""

import contextlib
import signal


class AssayError(Exception):
    """Root of every deliberate error; its message is one sentence with the fact, the number and the fix."""

    exit_status = 2
    run_id: str | None = None
    """MLflow run that recorded it, if any."""
    run_url: str = ""


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


class CrashError(ExportError):
    """The process that exported died, or hung and was stopped."""


class ServiceError(AssayError):
    """A service (a download host, MLflow, Prefect) could not be reached."""

    exit_status = 3


def one_line(said: object) -> str:
    """The text of an exception or another object on one line, cut at 300 characters, without a final full stop."""
    return " ".join(str(said).split())[:300].rstrip(".")


def cause_of_death(status: int | None) -> str:
    """How a process ended, for a sentence about it.

    Args:
        status: as `subprocess` gives it: minus the signal's number if one killed it.
    """
    if status is not None and status < 0:
        with contextlib.suppress(ValueError):
            name = signal.Signals(-status).name
            hint = ", as the kernel does when memory runs out" if name == "SIGKILL" else ""
            return f"was killed by {name} (signal {-status}){hint}"
    return f"ended with status {status}"
