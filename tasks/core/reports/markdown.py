"""Markdown for MLflow and Prefect: what was exported and proven, in short; `html_report` writes it in full."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.filesize import decimal

from tasks.core.provenance.attempts import Attempt, model_name
from tasks.core.records.evidence import Evidence
from tasks.core.records.steps import Graph, TensorType
from tasks.core.reports.wording import (
    RANDOM_WEIGHTS,
    VERDICT_MARKS,
    error_sentence,
    latency_sentence,
    verdict_sentence,
)

_SPECIAL = str.maketrans(
    {"<": "&lt;", ">": "&gt;", "&": "&amp;", "\n": " "} | {sign: f"\\{sign}" for sign in "\\`*_{}[]#|~"}
)
_MANY = 8
_MAX_FACT = 300
"""Characters of a line of what a model was trained to see and to tell."""
"""Of inputs, outputs, reasons and changes no more are listed; the report has all."""
MAX_NOTE = 7500
"""Characters; MLflow cuts a tag at 8,000 with only a warning."""
_LONG = 300
"""Characters."""


@dataclass(frozen=True)
class Context:
    """What the store knows around an attempt: who made it, and the links to its pages."""

    user: str = ""
    commit: str = ""
    """Of the repository that the command was run from."""
    version: str | None = None
    """The number that the file was registered under."""
    links: tuple[tuple[str, str], ...] = ()
    """Label and address."""


def describe(attempt: Attempt, context: Context) -> str:
    """Describe a run: heading with the verdict, reasons, links, inputs, outputs, weights and file.

    Args:
        attempt: with all that is known of it.
        context: around it.
    """
    evidence, graph, error = attempt.evidence, attempt.graph, attempt.error
    if error or not (attempt.weights and graph and evidence):
        said = escaped(error.message) if error else ""
        return joined([f"### {escaped(title(attempt))}: ✘ {_undone(attempt)}", said], [made(attempt, context)])
    text = joined(
        [f"### {escaped(title(attempt, context.version))}: {VERDICT_MARKS[evidence.verdict]}"],
        verdict_lines(evidence, context),
        fact_lines(attempt, graph, context),
    )
    return shortened(text)


def title(attempt: Attempt, version: str | None = None) -> str:
    """Name of the model, with the version or the file that somebody else made.

    Args:
        attempt: at an export or a proof.
        version: the number that its file was registered under.
    """
    file = f" · {Path(attempt.file).name}" if attempt.file else ""
    return f"{attempt.title}{f' v{version}' if version else ''}{file}"


def verdict_lines(evidence: Evidence, context: Context) -> list[str]:
    """The verdict in a sentence, with the first reason against it, links, the other reasons, and what it rests on.

    Args:
        evidence: with the verdict.
        context: around it.
    """
    coverage = f"Proof coverage: {evidence.coverage.sentence}." if evidence.coverage else ""
    where = f"**Where:** {escaped(evidence.blame.sentence.rstrip('.'))}." if evidence.blame else ""
    why = f"**Why:** {escaped(evidence.reasons[0].rstrip('.'))}." if evidence.reasons else ""
    measured = "" if evidence.verdict == "pass" else error_sentence(evidence)
    said, links = " ".join(filter(None, (verdict_sentence(evidence), why, where))), link_line(context.links)
    # within the first three lines: MLflow folds the others away
    first = [said, links] if why or where else [f"{said} {links}".strip()]
    return [
        *first,
        f"**{RANDOM_WEIGHTS}**" if evidence.random_weights else "",
        "\n".join(bullets(map(escaped, evidence.reasons[1:_MANY]))),
        f"{measured} {escaped(coverage)}".strip(),
    ]


def fact_lines(attempt: Attempt, graph: Graph, context: Context) -> list[str]:
    """A list: inputs, outputs, weights, the file, who made it, how fast it is.

    Args:
        attempt: with its weights.
        graph: its file.
        context: around it.
    """
    weights = attempt.weights
    facts = [*_types("in ", graph.inputs), *_types("out", graph.outputs)]
    if weights is not None:
        tensors = attempt.manifest.weights if attempt.manifest else weights.tensors_sha256
        file = f", file SHA-256 {code(weights.file_sha256)}" if weights.file_sha256 else ""
        facts.append(f"weights {escaped(weights.origin)}, tensors {code((tensors or 'random')[:16])}{file}")
    said = attempt.report.preprocessing.facts if attempt.report else {}
    facts += [f"{name} {code(value[:_MAX_FACT])}" for name, value in said.items()]
    size = decimal(graph.size_bytes)
    speed = [f"speed {escaped(latency_sentence(attempt.latency))}"] if attempt.latency else []
    return [
        "\n".join(
            bullets(
                [
                    *facts,
                    f"model {code(model_name(attempt.spec))}, {made(attempt, context)}",
                    f"file SHA-256 {code(graph.sha256)}",
                    f"opset {graph.opset}, {graph.exporter} exporter, {graph.num_nodes} nodes, {size}",
                    *speed,
                ]
            )
        )
    ]


def made(attempt: Attempt, context: Context) -> str:
    """By whom, when, and from which commit.

    Args:
        attempt: with its time.
        context: around it.
    """
    when = datetime.fromtimestamp(attempt.started_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
    who = f" by {escaped(context.user)}" if context.user else ""
    return f"made{who} on {when}{f', commit {code(context.commit[:12])}' if context.commit else ''}"


def link_line(links: Iterable[tuple[str, str]]) -> str:
    """Links, given as label and address, beside each other."""
    return " · ".join(f"[{label}]({address})" for label, address in links)


def shortened(text: str) -> str:
    """Text that fits into a tag of MLflow, cut between two lines or two links."""
    if len(text) <= MAX_NOTE:
        return text
    return f"{text[: max(text.rfind(end, 0, MAX_NOTE) for end in (chr(10), ' · '))]} …"


def joined(*blocks: Iterable[str], separator: str = "\n\n") -> str:
    """The lines of all blocks that are not empty.

    Args:
        blocks: of lines.
        separator: between two lines; by default each becomes a paragraph.
    """
    return separator.join(line for block in blocks for line in block if line)


def escaped(text: str) -> str:
    """Text that Markdown shows as it is: nothing in it is a tag, a link or emphasis."""
    return text.translate(_SPECIAL)


def code(text: str) -> str:
    """Text as code."""
    return f"`{text.replace('`', chr(39))[:_LONG]}`"


def bullets(lines: Iterable[str]) -> list[str]:
    """Each line as an item of a list."""
    return [f"* {line}" for line in lines]


def parity_lines(evidence: Evidence) -> list[str]:
    """Lines of the parity table: a row per output and family of probes."""
    header = ["| output | probes | ratio | slice | max diff | 1 - cosine | elements |", "|---|---|---|---|---|---|---|"]
    rows = [
        f"| {escaped(output.name)} | {escaped(f.family)} ({f.num_probes}) | {f.noise_ratio:.2f} "
        f"| {f'{f.slice_ratio:.2f}' if f.worst_slice else '–'} | {f.max_abs_difference:.1e} "
        f"| {abs(1 - f.cosine):.0e} | {f.num_elements:,} |"
        for output in evidence.outputs
        for f in output.families
    ]
    return header + rows


def _undone(attempt: Attempt) -> str:
    return "not verified" if attempt.file else "not exported"


def _types(word: str, types: tuple[TensorType, ...]) -> Iterator[str]:
    yield from (f"{word} {code(str(value))}" for value in types[:_MANY])
    if len(types) > _MANY:
        yield f"{word} {len(types) - _MANY} more, which the report lists"
