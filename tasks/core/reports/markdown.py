"""Markdown summary of what was exported and proven; `html_report` writes it in full."""

from rich.filesize import decimal

from tasks.core.provenance.attempts import Attempt
from tasks.core.records.evidence import Evidence

VERDICT_MARKS = {"pass": "✔ pass", "fail": "✘ fail", "inconclusive": "? inconclusive", "error": "✘ error"}


def describe(attempt: Attempt) -> str:
    """Describe a run or a version for MLflow: heading with the verdict, inputs, outputs, weights and file."""
    weights, graph, evidence, error = attempt.weights, attempt.graph, attempt.evidence, attempt.error
    if error or not (weights and graph and evidence):
        return f"### {attempt.title}: not exported\n\n{error.message if error else ''}"
    lines = [
        f"### {attempt.title}: {VERDICT_MARKS[evidence.verdict]}",
        "",
        f"Worst noise ratio {evidence.noise_ratio:.2f} of at most {evidence.noise_limit:g} "
        f"(error of ONNX Runtime as a multiple of float32's own rounding).",
        "",
        *([f"Proof coverage: {evidence.coverage.sentence}.", ""] if evidence.coverage else []),
        *(f"* {reason}" for reason in evidence.reasons),
        *([f"* where: {evidence.blame.sentence}"] if evidence.blame else []),
        *(f"* in  `{value}`" for value in graph.inputs),
        *(f"* out `{value}`" for value in graph.outputs),
        f"* weights {weights.origin}, tensors `{(weights.tensors_sha256 or 'random')[:16]}`",
        f"* file SHA-256 `{graph.sha256}`",
        f"* opset {graph.opset}, {graph.exporter} exporter, {graph.num_nodes} nodes, {decimal(graph.size_bytes)}",
    ]
    return "\n".join(lines)


def parity_lines(evidence: Evidence) -> list[str]:
    """Lines of the parity table: a row per output and family of probes."""
    header = ["| output | probes | ratio | slice | max diff | 1 - cosine | elements |", "|---|---|---|---|---|---|---|"]
    rows = [
        f"| {output.name} | {f.family} ({f.num_probes}) | {f.noise_ratio:.2f} "
        f"| {f'{f.slice_ratio:.2f}' if f.worst_slice else '–'} | {f.max_abs_difference:.1e} "
        f"| {abs(1 - f.cosine):.0e} | {f.num_elements:,} |"
        for output in evidence.outputs
        for f in output.families
    ]
    return header + rows
