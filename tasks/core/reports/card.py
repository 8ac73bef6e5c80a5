"""Descriptions of a registered version and of its model: what a reviewer needs, and how to load the file."""

from collections.abc import Iterator

from tasks.core.provenance.attempts import Attempt
from tasks.core.provenance.comparison import contract_changes, file_changes
from tasks.core.records.comparison import ContractChange, Drift
from tasks.core.records.steps import Graph
from tasks.core.reports.loading import loading_lines
from tasks.core.reports.markdown import (
    Context,
    bullets,
    code,
    escaped,
    fact_lines,
    joined,
    link_line,
    title,
    verdict_lines,
)
from tasks.core.reports.numbers import number
from tasks.core.reports.wording import EQUALLY_FAST, RANDOM_WEIGHTS, VERDICT_MARKS, latency_change

MAX_DESCRIPTION = 5000
"""Characters; some databases refuse more."""
OWN_HEADING = "ONNX files proven by Assay"
"""The heading of a model's description that was not written by a person."""
_MANY = 8


def version_card(attempt: Attempt, graph: Graph, context: Context, *, stays: str, drift: Drift | None = None) -> str:
    """Describe a version: the verdict, what changed, what it is made from, and how to load it.

    Args:
        attempt: that passed.
        graph: its file.
        context: around it, with the number of the version.
        stays: why `champion` did not move to it; empty: it did.
        drift: how far its outputs are from those of the version before; None: that was not measured.
    """
    facts = joined(
        [f"### {escaped(title(attempt, context.version))}: {VERDICT_MARKS[attempt.verdict]}"],
        verdict_lines(attempt.evidence, context) if attempt.evidence else [],
        _reason_lines(attempt, graph, context.version, drift=drift),
        [f"**{escaped(stays)}.**" if stays else ""],
        ["**This version:**"],  # or Markdown joins the two lists
        fact_lines(attempt, graph, context),
    )
    loading = joined(loading_lines(graph, f"models:/{attempt.title}/{context.version}"))
    return f"{facts}\n\n{loading}" if len(facts) + len(loading) + 2 <= MAX_DESCRIPTION else facts[:MAX_DESCRIPTION]


def model_page(name: str, *, links: tuple[tuple[str, str], ...], is_random: bool) -> str:
    """Describe a registered model.

    Args:
        name: of the model.
        links: labels and addresses of its newest version, its champion, its trend.
        is_random: the weights of the newest version are random.
    """
    return joined(
        [f"### {escaped(name)}: {OWN_HEADING}"],
        ["Each version computes what the PyTorch model computes; its page says how that was proven, from which "
         "weights it was made, and how to load it."],
        [f"**{RANDOM_WEIGHTS}** Such a version is `proven`, and never `champion`."] if is_random else [],
        [link_line(links)],
    )  # fmt: skip


def contract_sentence(change: ContractChange) -> str:
    """Which inputs or outputs are gone, and which are new, as code."""
    gone, come = (", ".join(map(code, values)) or "nothing" for values in (change.before, change.now))
    return f"{change.word}: {gone} became {come}"


def _reason_lines(attempt: Attempt, graph: Graph, version: str | None, *, drift: Drift | None) -> list[str]:
    """Why this `version` exists, with the values before and now; a changed contract first."""
    before = attempt.before
    if before is None:
        return ["**Why this version:** it is the first one."]
    old = before.release.version
    compared = code(f"assay compare {attempt.title}/{old} {attempt.title}/{version}")
    figures = [f"{change.name}: {change.before} became {change.now}" for change in file_changes(before.graph, graph)]
    speed = latency_change(before.latency, attempt.latency)
    figures += [f"time of a run: {speed}"] if speed and not speed.endswith(EQUALLY_FAST) else []
    return [
        *(f"**✘ Changed contract:** {contract_sentence(change)}. Code that uses version {old} has to change."
          for change in contract_changes(before.graph, graph)),
        f"**Why this version**, what changed since version {old}:",
        "\n".join(bullets([*_entries(attempt), *figures])) or "nothing that is known to decide the file",
        f"**How far outputs moved:** {_moved(drift)} ({compared})",
    ]  # fmt: skip


def _moved(drift: Drift | None) -> str:
    """How far each output is from the one before, in words."""
    if drift is None or drift.reason:
        return escaped(drift.reason) if drift else "not measured"
    moved = [output for output in drift.outputs if output.reason or output.largest]
    said = [
        f"{code(output.name)} {escaped(output.reason)}"
        if output.relative_rms is None or output.largest is None
        else f"{code(output.name)} by {number(output.relative_rms)} of its rms, {number(output.largest)} at most"
        for output in moved[:_MANY]
    ]
    more = [f"{len(moved) - _MANY} more outputs"] if len(moved) > _MANY else []
    return f"{', '.join([*said, *more]) or 'not at all'}, over {len(drift.sizes)} inputs"


def _entries(attempt: Attempt) -> Iterator[str]:
    changes = attempt.changes
    if attempt.before and attempt.before.damage:
        yield f"what is stored of version {attempt.before.release.version}: {escaped(attempt.before.damage)}"
    for change in changes[:_MANY]:
        name = escaped(change.name)
        yield name if change.kind == "packages" else f"{name}: {code(change.before)} became {code(change.now)}"
    if len(changes) > _MANY:
        yield f"{len(changes) - _MANY} more, which the report lists"
