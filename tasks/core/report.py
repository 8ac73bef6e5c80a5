"""Say in Markdown what was exported and proven: a short description and a full report."""

from collections.abc import Mapping

from rich.filesize import decimal

from tasks.core.evidence import Evidence
from tasks.core.records import Graph, LoadReport, Weights
from tasks.core.spec import ExportSpec

VERDICT_MARKS = {"pass": "✔ pass", "fail": "✘ fail", "inconclusive": "? inconclusive", "error": "✘ error"}


def describe(spec: ExportSpec, weights: Weights, graph: Graph, evidence: Evidence) -> str:
    """A heading, the inputs and outputs, and the verdict: what MLflow shows beside a version."""
    lines = [
        f"### {spec.title}: {VERDICT_MARKS[evidence.verdict]}",
        "",
        f"Worst noise ratio {evidence.noise_ratio:.2f} of at most {evidence.noise_limit:g} "
        f"(error of ONNX Runtime as a multiple of float32's own rounding).",
        "",
        *(f"* {reason}" for reason in evidence.reasons),
        *(f"* in  `{value}`" for value in graph.inputs),
        *(f"* out `{value}`" for value in graph.outputs),
        f"* weights {weights.origin}, tensors `{(weights.tensors_sha256 or 'random')[:16]}`",
        f"* file SHA-256 `{graph.sha256}`",
        f"* opset {graph.opset}, {graph.exporter} exporter, {graph.num_nodes} nodes, {decimal(graph.size_bytes)}",
    ]
    return "\n".join(lines)


def full_report(
    spec: ExportSpec,
    weights: Weights,
    report: LoadReport,
    graph: Graph,
    evidence: Evidence,
    *,
    provenance: Mapping[str, str],
    changed: tuple[str, ...],
) -> str:
    """Everything a reviewer asks: verdict, parity per output and family, dims, keys, provenance."""
    title = describe(spec, weights, graph, evidence).replace("### ", "# ", 1)
    sections = [title, _parity_table(evidence), _dims_table(evidence)]
    sections.append(_list("Why this version", [f"changed: {entry}" for entry in changed]))
    sections.append(_list("Notes", [f"exporter: {graph.exporter_reason}", *graph.notes, *evidence.notes]))
    sections.append(_list("Probes left out for time", list(evidence.skipped)))
    sections.append(_list("Weights", _weights_lines(weights, report)))
    rows = [f"| {key.removeprefix('assay.')} | `{value}` |" for key, value in sorted(provenance.items())]
    sections.append("\n".join(["## Provenance, as in the file", "", "| what | value |", "|---|---|", *rows]))
    return "\n\n".join(section for section in sections if section) + "\n"


def parity_lines(evidence: Evidence) -> list[str]:
    """The parity table alone, for a Prefect artifact or a terminal."""
    header = [
        "| output | probes | ratio | slice | max diff | 1 - cosine | elements |",
        "|---|---|---|---|---|---|---|",
    ]
    rows = [
        f"| {output.name} | {f.family} ({f.num_probes}) | {f.noise_ratio:.2f} "
        f"| {f'{f.slice_ratio:.2f}' if f.worst_slice else '–'} | {f.max_abs_difference:.1e} "
        f"| {abs(1 - f.cosine):.0e} | {f.num_elements:,} |"
        for output in evidence.outputs
        for f in output.families
    ]
    return header + rows


def _parity_table(evidence: Evidence) -> str:
    lines = ["## Parity", "", *parity_lines(evidence), ""]
    for output in evidence.outputs:
        power = f"{output.name} moves with its input by {output.power.movement:,.0f} times the noise"
        top1 = (
            "" if output.top1_agreement is None else f"; top-1 agrees on {output.top1_agreement:.1%} of the sample rows"
        )
        lines.append(f"* {power}{top1}")
    limits = (
        f"Limits: noise ratio {evidence.noise_limit:g}, slices {evidence.slice_limit:g}, "
        f"movement at least {evidence.movement_limit:g}."
    )
    return "\n".join([*lines, "", limits])


def _dims_table(evidence: Evidence) -> str:
    if not evidence.dims:
        return ""
    rows = []
    for d in evidence.dims:
        refused = f"; the module itself refuses {', '.join(map(str, d.refused_by_model))}" if d.refused_by_model else ""
        rows.append(f"* `{d.name}` of {d.input} (axis {d.axis}): right at {', '.join(map(str, d.sizes))}{refused}")
    return "\n".join(["## Dynamic dimensions", "", *rows])


def _weights_lines(weights: Weights, report: LoadReport) -> list[str]:
    lines = [
        f"{weights.kind}: {weights.origin}",
        f"file SHA-256 `{weights.file_sha256}`" if weights.file_sha256 else "",
        f"{report.num_loaded} keys into `{report.model_class}` with {report.num_parameters:,} parameters",
        f"found under {' / '.join(report.nesting)}" if report.nesting else "",
        f"renamed: {', '.join(report.renamed)}" if report.renamed else "",
        f"missing, as allowed: {', '.join(report.missing)}" if report.missing else "",
        f"left over, as allowed: {', '.join(report.unexpected)}" if report.unexpected else "",
    ]
    return [line for line in lines if line]


def _list(title: str, items: list[str]) -> str:
    return "\n".join([f"## {title}", "", *(f"* {item}" for item in items)]) if items else ""
