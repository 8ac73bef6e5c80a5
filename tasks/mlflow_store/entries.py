"""What MLflow is told of an attempt: tags, params, metrics."""

import json
import math
import re
from pathlib import Path

from tasks.core.provenance.attempts import Attempt, model_name
from tasks.core.provenance.manifest import package_versions
from tasks.core.records.evidence import OutputEvidence
from tasks.core.reports.markdown import title
from tasks.core.reports.wording import VERDICT_MARKS

VERDICT = "assay.verdict"
"""Tag that is written after the last check only."""
MAX_TAG, MAX_PARAM = 4000, 6000
"""Characters; MLflow itself cuts tags at 8,000 and params at 6,000, with only a warning."""

NOTE = "mlflow.note.content"
"""Tag that MLflow shows as the description of an experiment, a run or a logged model."""
NAME = "assay.name"
"""Tag with the registered model's name, or whatever a run is about."""
KIND = "assay.kind"
"""Tag that tells runs of exports, verified files, sweeps and trends apart."""
_OF_VERSIONS = ("assay.onnx_sha256", "assay.weights_sha256", "assay.inputs", "assay.outputs")

_FIGURES = (
    "noise_ratio", "slice_ratio", "max_abs_difference", "cosine",
    "top1_agreement", "top1_flip_margin", "top5_agreement", "mask_iou",
)  # fmt: skip
"""Fields of an output's evidence; those that its task does not have are None."""


def run_name(attempt: Attempt, version: str | None = None) -> str:
    """Name of a run that has ended: its verdict's mark, the model, the version or the file that somebody else made.

    Args:
        attempt: that has ended.
        version: the number that its file was registered under.
    """
    return f"{VERDICT_MARKS[attempt.verdict][0]} {title(attempt, version)}"


def version_tags(attempt: Attempt) -> dict[str, str]:
    """The tags of a version: few, for each of them makes its row in the list of versions higher."""
    return {key: value for key, value in tags(attempt).items() if key in _OF_VERSIONS} | {VERDICT: attempt.verdict}


def tags(attempt: Attempt) -> dict[str, str]:
    """Tags of the run and the logged model, all but the verdict."""
    weights, graph, error = attempt.weights, attempt.graph, attempt.error
    found = {
        **{key: value[:MAX_PARAM] for key, value in attempt.provenance.items()},
        NAME: attempt.title,
        KIND: "verification" if attempt.file else "export",
        "assay.weights_file_sha256": weights.file_sha256 if weights else None,
        "assay.verified_file": Path(attempt.file).name if attempt.file else None,
        "assay.changed": ", ".join(attempt.changed) or None,
        "assay.error": f"{error.type}: {error.message}" if error else None,
    }
    if graph:
        found |= {
            "assay.onnx_sha256": graph.sha256,
            "assay.exporter": graph.exporter,
            "assay.opset": str(graph.opset),
            "assay.inputs": ", ".join(map(str, graph.inputs)),
            "assay.outputs": ", ".join(map(str, graph.outputs)),
        }
    return {key: value[:MAX_TAG] for key, value in found.items() if value is not None}


def params(attempt: Attempt) -> dict[str, str]:
    """Params of the run: what was asked for, and what came out; MLflow's Compare sees these, and no tags."""
    spec, graph, manifest = attempt.spec, attempt.graph, attempt.manifest
    found = {
        "model": model_name(spec),
        "weights": attempt.weights.origin if attempt.weights else "",
        "opset": str(spec.opset),
        "exporter_asked": spec.exporter,
        "kwargs": json.dumps(spec.kwargs, default=str),
    }
    if manifest:
        found |= {
            "weights_sha256": manifest.weights,
            "model_code": ", ".join(f"{Path(path).name} {sha256}" for path, sha256 in sorted(manifest.sources.items())),
            "assay_code": manifest.assay,
        }
    if graph:
        found |= {
            "onnx_sha256": graph.sha256,
            "exporter": graph.exporter,
            "exporter_reason": graph.exporter_reason,
            "inputs": ", ".join(map(str, graph.inputs)),
            "outputs": ", ".join(map(str, graph.outputs)),
            **{f"version.{name}": version for name, version in package_versions(attempt.spec).items()},
        }
    return {key: value[:MAX_PARAM] for key, value in found.items()}


def metrics(attempt: Attempt) -> dict[str, float]:
    """Parity, sizes, speed, parity per output, times of steps, in this order; infinite values as MLflow stores them."""
    found: dict[str, float] = {}
    graph, evidence = attempt.graph, attempt.evidence
    if evidence:
        # a ratio of 0 that proves nothing would sort before all others; four digits fit into a column
        if evidence.noise_ratio or (evidence.noise_ratio == 0 and evidence.verdict == "pass"):
            found["noise_ratio"] = float(f"{evidence.noise_ratio:.4g}")
        if evidence.coverage:
            found["proof_coverage"] = evidence.coverage.share
    if graph:
        found |= {"size_bytes": float(graph.size_bytes), "num_nodes": float(graph.num_nodes)}
    if attempt.latency and attempt.latency.onnx and attempt.latency.torch:
        timings = {"latency_ms": attempt.latency.onnx, "latency_torch_ms": attempt.latency.torch}
        found |= {key: float(f"{timing.median_ms:.4g}") for key, timing in timings.items()}
    if evidence:
        for output in evidence.outputs:
            name = re.sub(r"[^\w\-. ]", "_", output.name)[:100]
            found |= {f"{name}/{key}": value for key, value in _figures(output).items()}
    found |= {f"seconds/{step}": seconds for step, seconds in attempt.seconds.items()}
    return {key: value if math.isfinite(value) else 1e308 for key, value in found.items()}


def _figures(output: OutputEvidence) -> dict[str, float]:
    if not output.is_compared:
        return {}
    figures = {key: getattr(output, key) for key in _FIGURES} | {"movement": output.power.movement}
    if output.detections is not None:
        figures |= {key: float(getattr(output.detections, key)) for key in ("num_matched", "num_unmatched")}
    return {key: value for key, value in figures.items() if value is not None}
