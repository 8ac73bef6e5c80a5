"""Prove .onnx files that somebody else made against the PyTorch model: the flow, and its command line.

python flows/verify.py MODEL FILE.onnx... [options]
"""

if __name__ == "__main__":  # before the imports below: the command line imports them when it needs them
    from flows.command_line.verify import main

    raise SystemExit(main())

import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from prefect import flow
from torch import nn

from flows.outcomes import outcome
from flows.steps import Steps
from tasks.core.errors import ServiceError, SpecError
from tasks.core.inputs.matching import Matcher
from tasks.core.model.borrowing import borrowed
from tasks.core.onnx_files.reading import read_graph, state_of
from tasks.core.provenance.attempts import Attempt
from tasks.core.provenance.manifest import make_manifest
from tasks.core.records.steps import ExportResult
from tasks.core.reference.reference import Reference
from tasks.core.spec.export_spec import ExportSpec, ResolvedSpec
from tasks.core.spec.resolve import resolve
from tasks.fetch_weights import fetch_weights
from tasks.instantiate_model import instantiate_model
from tasks.log_export import log_export
from tasks.validate_onnx import validate_onnx

log = logging.getLogger("assay")

__all__ = ["ExportSpec", "verify_files"]


@flow(name="verify-files", flow_run_name="verify-{spec.title}", persist_result=False)
def verify_files(
    spec: ExportSpec,
    files: Sequence[Path],
    *,
    declared: bool = False,
    tell: Callable[[ExportResult], None] | None = None,
) -> list[ExportResult]:
    """Prove files against one model, which is built and run once for all of them.

    Args:
        spec: the model, its weights and inputs.
        files: `.onnx` files.
        declared: hold the files against the dims of `spec.inputs`; else the dims are each file's own.
        tell: called with each result as it comes.

    Returns:
        One result a file, in their order; one that can't be proven at all has the verdict `error`.

    Raises:
        AssayError: the weights or the model are wrong, or a service could not be reached.
    """
    spec = resolve(spec)
    with borrowed(spec):
        results = []
        for result in _prove_each(spec, files, declared=declared):
            results.append(result)
            if tell is not None:
                tell(result)
    return results


def _prove_each(spec: ResolvedSpec, files: Sequence[Path], *, declared: bool) -> Iterator[ExportResult]:
    seconds: dict[str, float] = {}
    step = Steps(seconds)
    with step("fetch_weights") as say:
        weights = fetch_weights(spec)
        say(weights.origin)
    with step("instantiate_model") as say:
        model, report = instantiate_model(spec, weights)
        say(f"{report.model_class}, {report.num_parameters:,} parameters")
    manifest = make_manifest(spec, weights, report)
    matcher = Matcher(spec, model, declared=declared)
    references: dict[int, Reference] = {}
    for file in files:
        attempt = Attempt(spec, weights=weights, report=report, manifest=manifest, file=str(file), seconds={**seconds})
        result = outcome(functools.partial(_prove, attempt, model, matcher, references), spec.title)
        if result.error is not None and result.error.type == ServiceError.__name__:
            raise ServiceError(result.error.message)  # it would be out of reach for the next file, too
        yield result.model_copy(update={"file": str(file)})


def _prove(attempt: Attempt, model: nn.Module, matcher: Matcher, references: dict[int, Reference]) -> ExportResult:
    assert attempt.file is not None
    assert attempt.weights is not None
    assert attempt.report is not None
    spec, step = attempt.spec, Steps(attempt.seconds)
    path = Path(attempt.file)
    log.info("%s", path.name)
    with step("match_inputs") as say:
        state = state_of(path)
        attempt.graph = graph = read_graph(path)
        candidate, inputs = matcher.match(graph)
        say(", ".join(map(str, inputs.specs)))
    reference = references.setdefault(id(inputs), Reference(model, inputs))
    with step("validate_onnx") as say:
        proof = validate_onnx(
            f"{spec.title} {path.name}", candidate, reference, constant_outputs=spec.constant_outputs,
            random_weights=attempt.weights.kind == "random", notes=attempt.report.notes, keep=True,
        )  # fmt: skip
        attempt.evidence, attempt.defect = proof.evidence, proof.defect
        if state_of(path) != state:
            raise SpecError(f"{path.name} was changed while it was proven; run this again when it is finished.")
        compared = f"worst noise ratio {attempt.evidence.noise_ratio:.2f}"
        say(f"{attempt.evidence.verdict}, {compared if attempt.evidence.outputs else 'nothing compared'}")
    with step("log_export") as say:
        attempt.is_logged = True
        release = log_export(attempt, None)
        say(release.run_id)
    return attempt.result(release).model_copy(update={"onnx_path": path.resolve()})
