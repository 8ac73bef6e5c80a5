"""Prove .onnx files that somebody else made against the PyTorch model: the flow, and its command line.

python flows/verify.py MODEL FILE.onnx... [options]
"""

if __name__ == "__main__":  # before the imports below: the command line imports them when it needs them
    import signal
    import sys
    from pathlib import Path

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until the command listens, there is nothing to clean up
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder: a user may have an `export`, too
    from flows.command_line.start import run

    raise SystemExit(run("verify"))

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from prefect import flow

from flows.outcomes import outcome
from flows.processes.stale_flow_runs import claim
from tasks.core.errors import ServiceError
from tasks.core.inputs.matching import Matcher
from tasks.core.model.borrowing import borrowed
from tasks.core.onnx_files.reading import unmodified
from tasks.core.provenance.attempts import Attempt
from tasks.core.provenance.signatures import check_signature
from tasks.core.records.steps import ExportResult
from tasks.core.reference.module import BuiltModule
from tasks.core.spec.export_spec import ExportSpec
from tasks.core.spec.resolve import resolve
from tasks.create_inputs import match_inputs
from tasks.fetch_weights import fetch_weights
from tasks.instantiate_model import instantiate_model
from tasks.log_export import log_verification
from tasks.step import recorded
from tasks.validate_onnx import validate_onnx

log = logging.getLogger("assay")

__all__ = ["ExportSpec", "verify_files"]


@flow(name="verify-files", flow_run_name="verify-{spec.title}", persist_result=False, on_running=[claim])
def verify_files(
    spec: ExportSpec,
    files: Sequence[Path],
    *,
    declared: bool = False,
    foreign: bool = True,
    tell: Callable[[ExportResult], None] | None = None,
) -> list[ExportResult]:
    """Prove files against one model, which is built and run once for all of them.

    Args:
        spec: the model, its weights and inputs.
        files: `.onnx` files.
        declared: hold the files against the dims of `spec.inputs`; else the dims are each file's own.
        foreign: they come from elsewhere, and must be signed where a trusted key is set.
        tell: called with each result as it comes.

    Returns:
        One result a file, in their order; one that can't be proven at all has the verdict `error`.

    Raises:
        AssayError: the weights or the model are wrong, or a service could not be reached.
    """
    spec, results = resolve(spec), list[ExportResult]()
    with recorded(Attempt(spec)) as attempt, borrowed(spec):
        weights = fetch_weights(spec)
        module = instantiate_model(spec, weights)
        matcher = Matcher(spec, module.network, declared=declared)
        for file in files:
            prove = partial(_verify, file, module, matcher=matcher, attempt=attempt, foreign=foreign)
            result = outcome(prove, spec.title, passing=(ServiceError,))  # it would be out of reach for the next, too
            results.append(result.model_copy(update={"file": str(file)}))
            if tell is not None:
                tell(results[-1])
    return results


def _verify(file: Path, module: BuiltModule, *, matcher: Matcher, attempt: Attempt, foreign: bool) -> ExportResult:
    log.info("%s", file.name)
    with recorded(attempt.of_file(str(file))) as attempt:
        with unmodified(file):
            if foreign:
                check_signature(file)
            candidate, inputs = match_inputs(file, matcher)
            proof = validate_onnx(candidate, module, inputs, keep=True)
        release = log_verification(attempt, proof)
    return attempt.result(release)
