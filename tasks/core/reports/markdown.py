"""Markdown summary of what was exported and proven; `html_report` writes it in full."""

from rich.filesize import decimal

from tasks.core.records.evidence import Evidence
from tasks.core.records.steps import Graph, Weights
from tasks.core.spec.export_spec import ResolvedSpec

VERDICT_MARKS = {"pass": "✔ pass", "fail": "✘ fail", "inconclusive": "? inconclusive", "error": "✘ error"}


def describe(spec: ResolvedSpec, graph: Graph, evidence: Evidence, *, weights: Weights) -> str:
    """Describe a version for MLflow: heading with the verdict, inputs, outputs, weights and file.

    Args:
        spec: what was asked for.
        graph: the file.
        evidence: what was measured on it.
        weights: where they come from.
    """
    lines = [
        f"### {spec.title}: {VERDICT_MARKS[evidence.verdict]}",
        "",
        f"Worst noise ratio {evidence.noise_ratio:.2f} of at most {evidence.noise_limit:g} "
        f"(error of ONNX Runtime as a multiple of float32's own rounding).",
        "",
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
