"""Export one model to ONNX, prove the file, register it: the flow, and its command line.

python flows/export.py [MODEL...] [options]
"""

if __name__ == "__main__":  # before the imports below: the command line imports them when it needs them
    from flows.command_line.export import main

    raise SystemExit(main())

import contextlib
import gc
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from prefect import flow
from rich.filesize import decimal

from flows.steps import Steps
from tasks.core.errors import AssayError, ExportError, VerdictError
from tasks.core.hashes import file_sha256
from tasks.core.provenance.attempts import Attempt
from tasks.core.provenance.manifest import changes_without_weights, differences, make_manifest, same_weights
from tasks.core.records.steps import ExportResult, Release
from tasks.core.spec.export_spec import ExportSpec, ResolvedSpec
from tasks.core.spec.resolve import resolve
from tasks.log_export import log_export
from tasks.mlflow_store.releases import download_graph, find_champion, stored_file

log = logging.getLogger("assay")

__all__ = ["ExportSpec", "VerdictError", "export_model", "find_unchanged"]


@flow(name="export-model", flow_run_name="export-{spec.title}", persist_result=False)
def export_model(
    spec: ExportSpec,
    *,
    force: bool = False,
    output: Path | None = None,
    verbose: bool = False,
    parent_run_id: str | None = None,
) -> ExportResult:
    """Turn a PyTorch model into a proven, versioned ONNX file.

    Args:
        spec: the model, its weights and inputs; `{"model": "digits"}` will do for a catalog entry.
        force: export even where nothing changed.
        output: also put the proven file there.
        verbose: log the graph, readable.
        parent_run_id: MLflow run under which this one shall stand.

    Raises:
        VerdictError: the file was made and logged, but is not proven.
        AssayError: a step failed; the subclass says which.
    """
    spec = resolve(spec)
    if not force and (known := find_unchanged(spec, output=output)):
        log.info("unchanged: %s", known.reason)
        return known
    from tasks.core.model.borrowing import borrowed  # torch, as below

    attempt = Attempt(spec, parent_run_id=parent_run_id)
    try:
        with borrowed(spec):
            result = _run_steps(attempt, force=force, output=output, verbose=verbose)
    except AssayError as error:
        if not attempt.is_logged:
            _log_failure(attempt, error)
        raise
    return _judged(result)


def find_unchanged(spec: ResolvedSpec, *, output: Path | None = None) -> ExportResult | None:
    """The champion's export, if all that decides it is as it was; `output` is written. Needs no torch.

    Raises:
        ServiceError: the tracking server could not be reached.
    """
    if not isinstance(spec.weights, str) or not isinstance(spec.model, str):
        return None
    past = find_champion(spec.title)
    if past is None or changes_without_weights(past.manifest, spec) or not same_weights(past.manifest, spec):
        return None
    return _delivered(past.unchanged(spec), past.release, output)


def _run_steps(attempt: Attempt, *, force: bool, output: Path | None, verbose: bool) -> ExportResult:
    # imported here, as all of this imports torch: a run in which nothing changed needs none of it
    from tasks.core.reference.reference import Reference
    from tasks.core.runtime.reservations import Growth, needed_bytes, reserved
    from tasks.create_inputs import create_inputs
    from tasks.export_onnx import export_onnx
    from tasks.fetch_weights import fetch_weights
    from tasks.instantiate_model import instantiate_model
    from tasks.validate_onnx import validate_onnx

    spec, step = attempt.spec, Steps(attempt.seconds)
    with step("fetch_weights") as say:
        attempt.weights = weights = fetch_weights(spec)
        say(weights.origin)
    with step("instantiate_model") as say:
        model, attempt.report = instantiate_model(spec, weights)
        say(f"{attempt.report.model_class}, {attempt.report.num_parameters:,} parameters")
    attempt.manifest = make_manifest(spec, weights, attempt.report)
    past = find_champion(spec.title)
    attempt.changed = differences(past.manifest, attempt.manifest) if past else ()
    if past and not attempt.changed and not force:
        return _delivered(past.unchanged(spec), past.release, output)
    with step("create_inputs") as say, Growth() as growth:
        inputs = create_inputs(spec, model)
        say(", ".join(map(str, inputs.specs)))
    reference = Reference(model, inputs)
    with _work_folder() as folder, reserved(needed_bytes(model, run_bytes=growth.num_bytes), title=spec.title):
        with step("export_onnx") as say:
            candidate = export_onnx(
                spec, model, inputs,
                reference=reference, provenance=attempt.provenance, folder=folder, verbose=verbose,
            )  # fmt: skip
            attempt.graph = graph = candidate.graph
            say(f"{graph.exporter}, opset {graph.opset}, {graph.num_nodes} nodes, {decimal(graph.size_bytes)}")
        with step("validate_onnx") as say:
            proof = validate_onnx(
                spec.title, candidate, reference, constant_outputs=spec.constant_outputs,
                random_weights=weights.kind == "random", notes=attempt.report.notes,
            )  # fmt: skip
            attempt.evidence, attempt.defect, witness = proof.evidence, proof.defect, proof.witness
            compared = f"worst noise ratio {attempt.evidence.noise_ratio:.2f}"
            say(f"{attempt.evidence.verdict}, {compared if attempt.evidence.outputs else 'nothing compared'}")
        # the last check loads the weights again, from the file; Prefect remembers what the task before was given
        del reference.network, model, reference, candidate
        gc.collect()
        with step("log_export") as say:
            attempt.is_logged = True
            release = log_export(attempt, witness)
            say(release.model_uri or release.run_id)
    return _delivered(attempt.result(release), release, output)


def _log_failure(attempt: Attempt, error: AssayError) -> None:
    """Log a failed attempt, too; where even that fails, the first error is the one to report."""
    attempt.error = error
    with contextlib.suppress(AssayError):
        release = log_export(attempt, None)
        error.run_id, error.run_url = release.run_id, release.run_url


def _delivered(result: ExportResult, release: Release, output: Path | None) -> ExportResult:
    """Name the file's place; put a proven one at `output`, whole or not at all.

    Raises:
        ExportError: the stored file is no longer the one that was proven, or `output` can't be written.
    """
    if output is None or result.verdict != "pass":
        return result.model_copy(update={"onnx_path": stored_file(release)})
    from tasks.core.onnx_files.lazy_reading import (  # onnx: not to be imported at the start
        SIDECAR_KEY,
        read_without_weights,
        sidecars,
    )

    source = download_graph(release)
    if file_sha256(source) != result.onnx_sha256:
        raise ExportError(f"The stored file of {release.model_uri} is not the proven one; export it anew with --force.")
    others = [source.with_name(name) for name in sidecars(source)]
    proven = {entry.value for entry in read_without_weights(source).metadata_props if entry.key == SIDECAR_KEY}
    if any(file_sha256(sidecar) not in proven for sidecar in others):
        raise ExportError(f"The stored weights of {release.model_uri} are not the proven ones; export with --force.")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        for path in (*others, source):
            target = output if path == source else output.with_name(path.name)
            part = target.with_name(f".{target.name}.{os.getpid()}.part")
            shutil.copyfile(path, part)
            part.replace(target)
    except OSError as error:
        raise ExportError(f"{output} can't be written ({error}); name another place with -o.") from error
    return result.model_copy(update={"onnx_path": output.resolve()})


def _judged(result: ExportResult) -> ExportResult:
    if result.verdict != "pass":
        raise VerdictError(result.complaint, result)
    return result


@contextlib.contextmanager
def _work_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="assay-") as folder:
        yield Path(folder)
