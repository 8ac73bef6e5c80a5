"""Export one model to ONNX, prove the file, register it: the flow, and its command line.

python flows/export.py [MODEL...] [options]
"""

if __name__ == "__main__":  # before the imports below: the command line imports them when it needs them
    import signal
    import sys
    from pathlib import Path

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until the command listens, there is nothing to clean up
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder: a user may have an `export`, too
    from flows.command_line.start import run

    raise SystemExit(run("export"))

import os
from pathlib import Path

from prefect import flow
from pydantic.json_schema import SkipJsonSchema

from flows.news import tell
from flows.outcomes import judged
from flows.processes.stale_flow_runs import claim
from tasks.core.errors import VerdictError
from tasks.core.model.borrowing import borrowed
from tasks.core.provenance.attempts import Attempt
from tasks.core.records.steps import ExportResult
from tasks.core.runtime.turns import turn
from tasks.core.runtime.work_folders import work_folder
from tasks.core.spec.destination import check_destination
from tasks.core.spec.export_spec import ExportSpec
from tasks.core.spec.resolve import resolve
from tasks.create_inputs import create_inputs
from tasks.deliver_file import deliver_file
from tasks.export_onnx import export_onnx
from tasks.fetch_weights import fetch_weights
from tasks.find_unchanged import find_unchanged
from tasks.instantiate_model import instantiate_model
from tasks.keep_export import kept_if_not_logged, take_kept
from tasks.log_export import log_export
from tasks.measure_latency import measure_latency
from tasks.mlflow_store.proven import find_proven
from tasks.step import recorded
from tasks.validate_onnx import validate_onnx

__all__ = ["ExportSpec", "VerdictError", "export_model"]


@flow(
    name="export-model", flow_run_name="export-{spec.title}", persist_result=False,
    on_running=[claim], on_completion=[tell], on_failure=[tell], on_crashed=[tell],
)  # fmt: skip
def export_model(
    spec: ExportSpec,
    *,
    force: bool = False,
    check: bool = False,
    output: SkipJsonSchema[Path | None] = None,
    verbose: bool = False,
    accept_contract: bool = False,
    timing: bool = True,
    parent_run_id: SkipJsonSchema[str | None] = None,
) -> ExportResult:
    """Turn a PyTorch model into a proven, versioned ONNX file.

    Prefect's form has what is no matter of one machine: neither `output` nor `parent_run_id`.

    Args:
        spec: the model, its weights and inputs; `{"model": "digits"}` will do for a catalog entry.
        force: export even where nothing changed.
        check: before it counts as unchanged, hash the stored file, though that was done today.
        output: also put the proven file there.
        verbose: log the graph, readable.
        accept_contract: `champion` may move to other inputs or outputs; exports even where nothing changed.
        timing: of a proven file, measure how long a run takes beside PyTorch: 2 seconds more.
        parent_run_id: MLflow run under which this one shall stand.

    Raises:
        VerdictError: the file was made and logged, but is not proven.
        AssayError: a step failed; the subclass says which.
    """
    spec, force = resolve(spec), force or accept_contract
    check_destination(output, spec)
    with turn(spec.title, f"{os.environ.get('MLFLOW_TRACKING_URI', '')} {spec.title}"):
        before = find_proven(spec.title, check=check or output is not None)
        if not force and (known := find_unchanged(spec, before)):
            return deliver_file(known, output)
        attempt = Attempt(spec, before, accepts_contract=accept_contract, parent_run_id=parent_run_id)
        with recorded(attempt), borrowed(spec), work_folder() as folder:
            weights = fetch_weights(spec)
            module = instantiate_model(spec, weights)
            if not force and (known := find_unchanged(spec, before, module.manifest)):
                return deliver_file(known, output)
            if kept := (None if force else take_kept(attempt, folder)):
                candidate, proof = kept
            else:
                inputs = create_inputs(spec, module)
                candidate = export_onnx(spec, module, inputs, folder=folder, verbose=verbose)
                proof = validate_onnx(candidate, module, inputs)
                if timing:
                    measure_latency(attempt, candidate, module=module, inputs=inputs)
            module.release()
            with kept_if_not_logged(attempt, proof):
                release = log_export(attempt, candidate, proof)
    return judged(deliver_file(attempt.result(release), output))
