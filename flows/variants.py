"""Make variants of a proven file (half precision, int8, simplified), judge what each loses, register them: the flow."""

import hashlib
import json
import logging
import re
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
from prefect import flow

from flows.outcomes import outcome
from flows.verify import verify_files
from tasks.core.errors import ExportError, ServiceError, VerdictError
from tasks.core.hashes import file_sha256
from tasks.core.model.borrowing import borrowed
from tasks.core.onnx_files.reading import read_graph
from tasks.core.paths import PROJECT_FOLDER
from tasks.core.provenance.attempts import Attempt
from tasks.core.provenance.manifest import package_versions
from tasks.core.provenance.signatures import check_signature
from tasks.core.records.preprocessing import Preprocessing
from tasks.core.records.steps import ExportResult, Graph
from tasks.core.records.variants import VariantEvidence, VariantTerms
from tasks.core.runtime.work_folders import work_folder
from tasks.core.spec.export_spec import ResolvedSpec
from tasks.core.variants.data import Data
from tasks.core.variants.foreign import mismatch, read_foreign
from tasks.core.variants.judgement import Judge
from tasks.core.variants.making import LOSSLESS, Recipe, read_source
from tasks.core.variants.pictures import are_pictures, preprocessing_in
from tasks.create_inputs import create_inputs
from tasks.deliver_file import deliver_file
from tasks.export_onnx import export_onnx
from tasks.fetch_weights import fetch_weights
from tasks.instantiate_model import instantiate_model
from tasks.judge_variant import judge_variant
from tasks.log_variant import log_variant
from tasks.make_variant import make_variant
from tasks.mlflow_store.releases import download_graph
from tasks.mlflow_store.variants import find_variant
from tasks.step import recorded
from tasks.validate_onnx import validate_onnx

if TYPE_CHECKING:
    from tasks.core.records.steps import Release

log = logging.getLogger("assay")

__all__ = ["VariantTerms", "export_variant", "judge_files"]


@flow(name="export-variant", flow_run_name="variant-{terms.kind}-{spec.title}", persist_result=False)
def export_variant(
    spec: ResolvedSpec,
    proven: ExportResult,
    terms: VariantTerms,
    *,
    force: bool = False,
    timing: bool = True,
    output: Path | None = None,
) -> ExportResult:
    """Make one variant of a proven file.

    Args:
        spec: of the model, which a lossless variant is proven against.
        proven: the result of its export.
        terms: the kind, the data, the budget.
        force: make it even where nothing changed.
        timing: of a lossy one, measure how long a run takes beside the proven file.
        output: also put the file there, if it is as good as was asked.

    Raises:
        VerdictError: it was made and logged, but is not as good as was asked.
        AssayError: a step failed; the subclass says which.
    """
    name, started = variant_name(proven.name, terms), time.perf_counter()
    graph = _graph(proven)
    said = _preprocessing(proven, terms)
    data = {kind: Data(text, graph.inputs, said) for kind, text in _asked(terms).items()}
    calibration, evaluation = data.get("calibrate"), data.get("evaluate")
    if calibration and evaluation:
        evaluation.check_apart(calibration)
    fingerprint = _fingerprint(terms, graph, data)
    if not force and (known := find_variant(name, fingerprint)):
        return deliver_file(known, output)
    known_facts = VariantEvidence(
        verdict="inconclusive", reasons=(), terms=terms, source_bytes=graph.size_bytes, source_sha256=graph.sha256,
        source=f"{proven.name} version {_release(proven).version}", source_name=proven.name,
        source_version=_release(proven).version,
        calibration=calibration and calibration.record, evaluation=evaluation and evaluation.record,
    )  # fmt: skip
    samples, is_lossy = list(calibration or ()), terms.kind not in LOSSLESS
    with work_folder() as folder, work_folder() as fetched:
        source = download_graph(_release(proven), fetched)
        model = read_source(source)
        judge = Judge(model, evaluation, samples) if is_lossy else None
        path = folder / "model.onnx"
        facts = {"assay.variant": terms.kind, "assay.variant_of": graph.sha256}
        made, recipe, way = make_variant(model, Recipe(terms, samples), judge, path=path, facts=facts)
        known_facts = known_facts.model_copy(update={"path": way, "size_bytes": made.size_bytes})
        if judge is not None:
            evidence = judge_variant(path, judge, recipe=recipe, known=known_facts, beside=source if timing else None)
        else:
            evidence = _proven_evidence(verify_files(spec, [path], foreign=False)[0], known_facts)
        release = log_variant(name, made, evidence, fingerprint=fingerprint)
    result = ExportResult(
        name=name, verdict=evidence.verdict, reason=evidence.claim or "; ".join(evidence.reasons), graph=made,
        variant=evidence, release=release, seconds={"variant": round(time.perf_counter() - started, 3)},
    )  # fmt: skip
    result = deliver_file(result, output)
    if result.verdict != "pass":
        raise VerdictError(result.complaint, result)
    return result


@flow(name="judge-files", flow_run_name="judge-{spec.title}", persist_result=False)
def judge_files(
    spec: ResolvedSpec,
    files: Sequence[Path],
    terms: VariantTerms,
    *,
    tell: Callable[[ExportResult], None] | None = None,
) -> list[ExportResult]:
    """Judge quantised or half-precision files that somebody else made, against a proven export of the same model.

    Args:
        spec: of the model; its export is proven first, and not registered.
        files: `.onnx` files.
        terms: evaluation data and budget; the kind is each file's own.
        tell: called with each result as it comes.

    Raises:
        ExportError: the model's own export is not proven.
        AssayError: the weights, the model or the data are wrong, or a service could not be reached.
    """
    results = list[ExportResult]()
    with recorded(Attempt(spec)), borrowed(spec), work_folder() as folder:
        weights = fetch_weights(spec)
        module = instantiate_model(spec, weights)
        inputs = create_inputs(spec, module)
        candidate = export_onnx(spec, module, inputs, folder=folder)
        proof = validate_onnx(candidate, module, inputs)
        module.release()
        if proof.evidence.verdict != "pass":
            why = "; ".join(proof.evidence.reasons)
            raise ExportError(f"{spec.title} has no proven float32 file to judge others by ({why}).")
        proven = candidate.graph
        evaluation = Data(str(terms.evaluate), proven.inputs, module.report.preprocessing)
        judge = Judge(read_source(proven.path), evaluation, [])
        for file in files:
            prove = partial(_judge_file, file, judge, proven=proven, name=spec.title, terms=terms)
            result = outcome(prove, spec.title, passing=(ServiceError,))
            results.append(result.model_copy(update={"file": str(file)}))
            if tell is not None:
                tell(results[-1])
    return results


def _judge_file(file: Path, judge: Judge, *, proven: Graph, name: str, terms: VariantTerms) -> ExportResult:
    log.info("%s", file.name)
    check_signature(file)
    graph = read_graph(file)
    model, kind = read_foreign(file, proven.inputs)
    terms = terms.model_copy(update={"kind": kind})
    known = VariantEvidence(
        verdict="fail", reasons=(mismatch(graph, proven),), terms=terms, source=f"{name}, exported and proven anew",
        source_bytes=proven.size_bytes, source_sha256=proven.sha256, size_bytes=graph.size_bytes,
        evaluation=judge.evaluation and judge.evaluation.record,
    )  # fmt: skip
    evidence = known
    if not mismatch(graph, proven):
        with work_folder() as folder:
            path = folder / "model.onnx"
            onnx.save(model, str(path))
            evidence = judge_variant(path, judge, recipe=Recipe(terms, []), known=known)
    title = re.sub(r"[^\w-]", "_", f"{name}-{file.stem}")  # MLflow takes no dots in names of models
    release = log_variant(title, graph, evidence)
    reason = evidence.claim or "; ".join(evidence.reasons)
    return ExportResult(
        name=name, verdict=evidence.verdict, reason=reason, graph=graph, variant=evidence, release=release,
        onnx_path=file.resolve(),
    )  # fmt: skip


def variant_name(name: str, terms: VariantTerms) -> str:
    """Name of a variant's registered model.

    Args:
        name: of the proven file's.
        terms: of the variant.
    """
    return f"{name}-{terms.kind}"


def _proven_evidence(verified: ExportResult, known: VariantEvidence) -> VariantEvidence:
    """What the proof of a lossless variant against the module says."""
    reasons = (verified.reason,) if verified.verdict != "pass" else ()
    verdict = "fail" if verified.verdict == "error" else verified.verdict
    claim = "computes what the model computes" if verdict == "pass" else ""
    return known.model_copy(update={"verdict": verdict, "reasons": reasons, "claim": claim})


def _asked(terms: VariantTerms) -> dict[str, str]:
    """The data that this kind uses."""
    wanted = {"evaluate": terms.evaluate, "calibrate": terms.calibrate}
    return {} if terms.kind in LOSSLESS else {kind: text for kind, text in wanted.items() if text}


def _preprocessing(proven: ExportResult, terms: VariantTerms) -> Preprocessing | None:
    """What the proven file says of pictures, where its data are some."""
    if not any(are_pictures(Path(text).expanduser()) for text in _asked(terms).values()):
        return None
    with work_folder() as folder:
        return preprocessing_in(download_graph(_release(proven), folder))


def _fingerprint(terms: VariantTerms, graph: Graph, data: dict[str, Data]) -> str:
    """One hash over all that decides a variant and its verdict."""
    room = PROJECT_FOLDER / "tasks" / "core" / "variants"
    content = {
        "terms": terms.model_dump(mode="json", exclude={"calibrate", "evaluate"}),
        "source": graph.sha256,
        "data": {kind: samples.record.sha256 for kind, samples in data.items()},
        "code": {path.name: file_sha256(path) for path in sorted(room.glob("*.py"))},
        "versions": package_versions(),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _graph(proven: ExportResult) -> Graph:
    if proven.graph is None:
        raise VerdictError(f"{proven.name} has no proven file to make a variant of.", proven)
    return proven.graph


def _release(proven: ExportResult) -> "Release":
    if proven.release is None or proven.verdict != "pass":
        raise VerdictError(f"{proven.name} has no proven file to make a variant of.", proven)
    return proven.release
