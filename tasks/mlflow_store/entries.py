"""What MLflow is told of an attempt: tags, params, metrics, a description."""

import json
import math
import re
from pathlib import Path

from tasks.core.provenance.attempts import Attempt, model_name, provenance
from tasks.core.provenance.manifest import package_versions
from tasks.core.records.evidence import OutputEvidence
from tasks.core.reports.markdown import describe

VERDICT = "assay.verdict"
"""Tag that is written after the last check only."""
MAX_TAG, MAX_PARAM = 4000, 6000
"""Characters; MLflow itself cuts tags at 8,000 and params at 6,000, with only a warning."""


def description(attempt: Attempt) -> str:
    """What MLflow shows beside the run and the version, in Markdown."""
    if attempt.weights and attempt.graph and attempt.evidence and not attempt.error:
        return describe(attempt.spec, attempt.graph, attempt.evidence, weights=attempt.weights)
    return f"### {attempt.title}: not exported\n\n{attempt.error.message if attempt.error else ''}"


def tags(attempt: Attempt) -> dict[str, str]:
    """Tags of the run, the logged model and the version, all but the verdict."""
    found: dict[str, str] = {}
    if attempt.weights and attempt.manifest:
        found |= provenance(attempt.spec, attempt.weights, attempt.manifest)
    if attempt.weights and attempt.weights.file_sha256:
        found["assay.weights_file_sha256"] = attempt.weights.file_sha256
    if attempt.graph:
        found |= {
            "assay.onnx_sha256": attempt.graph.sha256,
            "assay.exporter": attempt.graph.exporter,
            "assay.opset": str(attempt.graph.opset),
            "assay.inputs": ", ".join(map(str, attempt.graph.inputs)),
            "assay.outputs": ", ".join(map(str, attempt.graph.outputs)),
        }
    if attempt.file:
        found["assay.verified_file"] = Path(attempt.file).name
    if attempt.changed:
        found["assay.changed"] = ", ".join(attempt.changed)
    if attempt.error:
        found["assay.error"] = f"{attempt.error.type}: {attempt.error.message}"
    return {key: value[:MAX_TAG] for key, value in found.items()}


def params(attempt: Attempt) -> dict[str, str]:
    """Params of the run: what was asked for, and what came out."""
    spec = attempt.spec
    found = {
        "model": model_name(spec),
        "weights": attempt.weights.origin if attempt.weights else "",
        "opset": str(spec.opset),
        "exporter_asked": spec.exporter,
        "kwargs": json.dumps(spec.kwargs, default=str),
    }
    if attempt.graph:
        found |= {
            "exporter": attempt.graph.exporter,
            "exporter_reason": attempt.graph.exporter_reason,
            "inputs": ", ".join(map(str, attempt.graph.inputs)),
            "outputs": ", ".join(map(str, attempt.graph.outputs)),
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
        for output in attempt.evidence.outputs:
            name = re.sub(r"[^\w\-. ]", "_", output.name)[:100]
            found |= {f"{name}/{key}": value for key, value in _figures(output).items()}
    return {key: value if math.isfinite(value) else 1e308 for key, value in found.items()}


def _figures(output: OutputEvidence) -> dict[str, float]:
    figures = {
        "noise_ratio": output.noise_ratio,
        "slice_ratio": output.slice_ratio,
        "max_abs_difference": output.max_abs_difference,
        "cosine": output.cosine,
        "movement": output.power.movement,
    }
    for key in ("top1_agreement", "top1_flip_margin", "top5_agreement", "mask_iou"):
        if (value := getattr(output, key)) is not None:
            figures[key] = value
    if output.detections is not None:
        figures["num_matched"] = float(output.detections.num_matched)
        figures["num_unmatched"] = float(output.detections.num_unmatched)
    return figures
