"""What came of an attempt: any error becomes one sentence and a result, a result becomes JSON."""

import json
import logging
import traceback
from collections.abc import Callable
from typing import Any

from tasks.core.errors import AssayError, CrashError, VerdictError, as_assay_error, is_interruption, one_line
from tasks.core.provenance.attempts import Attempt
from tasks.core.records.steps import ErrorRecord, ExportResult, Release
from tasks.core.spec.export_spec import ResolvedSpec

log = logging.getLogger("assay")

_finished: dict[str, ExportResult] = {}
"""By name, the results of flows that are about to end in this process."""


def outcome(
    call: Callable[[], ExportResult], title: str, *, verbose: bool = False, passing: tuple[type[AssayError], ...] = ()
) -> ExportResult:
    """The result of a call; whatever it raises becomes one, too.

    Args:
        call: what is to be done.
        title: name of the model.
        verbose: print the traceback of what was not foreseen.
        passing: errors that are raised all the same.
    """
    from tasks.step import expecting

    try:
        with expecting():
            return call()
    except (Exception, SystemExit, GeneratorExit) as error:  # a model's code may raise anything, a library may, too
        if isinstance(error, passing):
            raise
        if is_interruption(error):
            raise KeyboardInterrupt from error
        if verbose and not isinstance(error, AssayError):
            traceback.print_exc()
        import httpx

        finished = _finished.pop(title, None)
        if finished and isinstance(error, httpx.TransportError | httpx.HTTPStatusError):
            log.warning(
                "Prefect's server failed (%s); the export is finished, its record there is not.", one_line(error)
            )
            return finished
        return getattr(error, "result", None) or failed(title, as_assay_error(error, title))
    finally:
        _finished.pop(title, None)


def judged(result: ExportResult) -> ExportResult:
    """The result with which a flow ends; it is remembered, as Prefect's server may fail before the flow has ended.

    Args:
        result: of the export.

    Raises:
        VerdictError: it is not proven.
    """
    from tasks.step import expect_little

    _finished[result.name] = result
    expect_little(1)  # what follows is its record on Prefect's server
    if result.verdict != "pass":
        raise VerdictError(result.complaint, result)
    return result


def failed(name: str, error: AssayError) -> ExportResult:
    """The result of what ended in an error.

    Args:
        name: of the model.
        error: with the id of the run that recorded it, if there is one.
    """
    record = ErrorRecord(type=type(error).__name__, message=str(error))
    release = Release(run_id=error.run_id, run_url=error.run_url) if error.run_id else None
    return ExportResult(name=name, verdict="error", reason=record.message, release=release, error=record)


def ended(spec: ResolvedSpec, error: AssayError, *, parent_run_id: str | None = None) -> ExportResult:
    """The result of an attempt in another process; if that died, this one records the attempt in its place.

    Args:
        spec: what was to be exported.
        error: what ended it.
        parent_run_id: MLflow run of the sweep.
    """
    if isinstance(error, CrashError):
        from tasks.mlflow_store.runs import log_failure

        log_failure(Attempt(spec, parent_run_id=parent_run_id), error)
    return failed(spec.title, error)


def flattened(result: ExportResult) -> dict[str, Any]:
    """The result as `--json` prints it: the fields of graph, evidence and release beside its own."""
    known: dict[str, Any] = json.loads(result.model_dump_json())  # which writes infinity and NaN as strings
    graph, evidence, release = (known.pop(part) or {} for part in ("graph", "evidence", "release"))
    known |= {key: release.get(key) for key in ("model_uri", "version", "run_id")}
    known["run_url"] = release.get("version_url") or release.get("run_url") or ""
    known["onnx_sha256"] = graph.get("sha256")
    known |= {key: graph.get(key) for key in ("size_bytes", "num_nodes", "exporter", "opset")}
    known |= {key: graph.get(key) or [] for key in ("inputs", "outputs")}
    known["parity"] = {output["name"]: output for output in evidence.get("outputs", ())}
    known["dims"] = evidence.get("dims") or []
    known["notes"] = list(result.notes)
    known["blame"] = evidence.get("blame")
    return known
