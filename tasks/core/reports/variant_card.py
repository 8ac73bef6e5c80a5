"""Description of a variant of a proven file: what it loses, on which data, and where."""

from rich.filesize import decimal

from tasks.core.records.variants import VariantEvidence
from tasks.core.reports.markdown import escaped, joined, link_line
from tasks.core.reports.wording import VERDICT_MARKS

_NUM_NODES = 8


def variant_card(evidence: VariantEvidence, *, links: tuple[tuple[str, str], ...] = ()) -> str:
    """Describe a variant, in Markdown.

    Args:
        evidence: what was measured on it.
        links: labels and addresses of pages around it.
    """
    terms, said = evidence.terms, evidence.claim or "; ".join(evidence.reasons)
    return joined(
        [f"### {terms.kind} of {escaped(evidence.source)}: {VERDICT_MARKS[evidence.verdict]}"],
        [f"**{escaped(said[:1].upper() + said[1:])}.**" if said else ""],
        [link_line(links)] if links else [],
        ["\n".join(_facts(evidence))],
        _nodes(evidence),
    )


def _facts(evidence: VariantEvidence) -> list[str]:
    loss, precision, declared, terms = evidence.loss, evidence.precision, evidence.declared, evidence.terms
    smaller = f"{evidence.size_bytes / evidence.source_bytes:.0%} of" if evidence.source_bytes else "beside"
    lines = [f"- Size: {decimal(evidence.size_bytes)}, {smaller} the proven file"]
    if loss is not None:
        flips = f", {loss.num_worse} worse" if loss.num_worse is not None else ""
        flips += f" and {loss.num_better} better" if loss.num_better is not None else ""
        lines.append(
            f"- Loss ({loss.measure}): {loss.loss:.2%}, from {loss.low:.2%} to {loss.high:.2%} (95 %), budget "
            f"{loss.budget:.2%}, {loss.num_samples:,} samples{flips}"
        )
        if loss.doubt:
            lines.append(f"- Labels: {loss.doubt}")
    if precision is not None:
        lines.append(f"- Error: {precision.error:.2g} of the outputs, {precision.ratio:.2f} times the least that "
                     f"{terms.kind} allows")  # fmt: skip
    if declared is not None:
        company = "batch gives the scales" if declared.dynamic_scales else "the rest of a batch"
        optimising = f"optimising changes {declared.levels:.2g}"
        lines.append(f"- ONNX Runtime: {optimising}, {company} {declared.company:.2g} times what the variant changes")
    if evidence.latency and evidence.source_latency:
        now, before = evidence.latency, evidence.source_latency
        lines.append(
            f"- Latency of one row: {now.median_ms:.3g} ms ({now.low_ms:.3g} to {now.high_ms:.3g}), the proven file's "
            f"{before.median_ms:.3g} ms ({before.low_ms:.3g} to {before.high_ms:.3g}), by turns on this machine"
            + (", where half precision only adds casts" if half_precision_only_casts(evidence) else "")
        )
    for what, data in (("Evaluated on", evidence.evaluation), ("Calibrated on", evidence.calibration)):
        if data is not None:
            lines.append(f"- {what} {escaped(data.origin)}, {data.num_samples:,} samples, `{data.sha256[:12]}`")
    if evidence.kept:
        lines.append(f"- In float32: {', '.join(map(escaped, evidence.kept))}")
    for step in evidence.path:
        lines.append(f"  - {len(step.kept)} nodes in float32: loss {step.loss:.2%}, at most {step.high:.2%}")
    return lines


def half_precision_only_casts(evidence: VariantEvidence) -> bool:
    """Is a half-precision file no faster, as on processors that compute in float32 all the same?

    Args:
        evidence: with both latencies, if they were measured.
    """
    now, before = evidence.latency, evidence.source_latency
    return evidence.terms.kind == "fp16" and bool(now and before and now.low_ms > before.low_ms)


def _nodes(evidence: VariantEvidence) -> list[str]:
    if not evidence.where:
        return []
    rows = [f"| {escaped(n.node)} | {n.operator} | {n.error:.2g} |" for n in evidence.where[:_NUM_NODES]]
    table = ["| node alone | operator | relative error |", "|---|---|---|", *rows]
    return ["**Where it is lost:**", "\n".join(table)]
