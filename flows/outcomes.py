"""Every error becomes one sentence and a result."""

import errno
import traceback
from collections.abc import Callable

from tasks.core.errors import AssayError, ExportError, ServiceError, one_line
from tasks.core.records.steps import ErrorRecord, ExportResult


def outcome(call: Callable[[], ExportResult], title: str, *, verbose: bool = False) -> ExportResult:
    """The result of a call; whatever it raises becomes one, too."""
    import httpx

    try:
        return call()
    except AssayError as error:
        return getattr(error, "result", None) or failed(title, error)
    except (httpx.TransportError, httpx.HTTPStatusError) as error:
        said = f"Prefect's server could not be reached ({error}); check PREFECT_API_URL, or unset it."
        return failed(title, ServiceError(said))
    except TimeoutError as error:
        return failed(title, ExportError(f"{title} took longer than its step may take ({error})."))
    except (Exception, SystemExit, GeneratorExit) as error:  # a model's code may raise anything, a library may, too
        if verbose:
            traceback.print_exc()
        said = one_line(error)
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            return failed(title, ExportError(f"{title} found no room on the disk ({said}); make some, and go on."))
        defect = f"{title} met a defect, {type(error).__name__}: {said}; --verbose shows where."
        return failed(title, ExportError(defect))


def failed(name: str, error: AssayError) -> ExportResult:
    """The result of what ended in an error."""
    record = ErrorRecord(type=type(error).__name__, message=str(error))
    return ExportResult(
        name=name, verdict="error", reason=str(error), run_id=error.run_id, run_url=error.run_url, error=record
    )
