"""What MLflow is told of an attempt: tags, params, metrics."""

import json
import math
import re
from pathlib import Path

from tasks.core.provenance.attempts import Attempt, model_name
from tasks.core.provenance.manifest import package_versions
from tasks.core.records.evidence import OutputEvidence

VERDICT = "assay.verdict"
"""Tag that is written after the last check only."""
MAX_TAG, MAX_PARAM = 4000, 6000
"""Characters; MLflow itself cuts tags at 8,000 and params at 6,000, with only a warning."""

_FIGURES = (
    "noise_ratio", "slice_ratio", "max_abs_difference", "cosine",
    "top1_agreement", "top1_flip_margin", "top5_agreement", "mask_iou",
)  # fmt: skip
"""Fields of an output's evidence; those that its task does not have are None."""


def tags(attempt: Attempt) -> dict[str, str]:
    """Tags of the run, the logged model and the version, all but the verdict."""
    weights, graph, error = attempt.weights, attempt.graph, attempt.error
    found = {
        **attempt.provenance,
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
    """Params of the run: what was asked for, and what came out."""
    spec, graph = attempt.spec, attempt.graph
    found = {
        "model": model_name(spec),
        "weights": attempt.weights.origin if attempt.weights else "",
        "opset": str(spec.opset),
        "exporter_asked": spec.exporter,
        "kwargs": json.dumps(spec.kwargs, default=str),
    }
    if graph:
        found |= {
            "exporter": graph.exporter,
            "exporter_reason": graph.exporter_reason,
            "inputs": ", ".join(map(str, graph.inputs)),
            "outputs": ", ".join(map(str, graph.outputs)),
            **{f"version.{name}": version for name, version in package_versions().items()},
        }
    return {key: value[:MAX_PARAM] for key, value in found.items()}


def metrics(attempt: Attempt) -> dict[str, float]:
    """Parity per output, step times, sizes; infinite values as MLflow can store them."""
    found = {f"seconds/{step}": seconds for step, seconds in attempt.seconds.items()}
    if attempt.graph:
        found |= {"size_bytes": float(attempt.graph.size_bytes), "num_nodes": float(attempt.graph.num_nodes)}
    if attempt.evidence:
        found["noise_ratio"] = attempt.evidence.noise_ratio
        if attempt.evidence.coverage:
            found["proof_coverage"] = attempt.evidence.coverage.share
        for output in attempt.evidence.outputs:
            name = re.sub(r"[^\w\-. ]", "_", output.name)[:100]
            found |= {f"{name}/{key}": value for key, value in _figures(output).items()}
    return {key: value if math.isfinite(value) else 1e308 for key, value in found.items()}


def _figures(output: OutputEvidence) -> dict[str, float]:
    figures = {key: getattr(output, key) for key in _FIGURES} | {"movement": output.power.movement}
    if output.detections is not None:
        figures |= {key: float(getattr(output.detections, key)) for key in ("num_matched", "num_unmatched")}
    return {key: value for key, value in figures.items() if value is not None}
