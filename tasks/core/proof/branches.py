"""Branches and loops, of a file and of the module: did some probe that was compared go each way?"""

from collections.abc import Iterator, Sequence

import numpy as np

from tasks.core.inputs.probes import Probe
from tasks.core.onnx_files.conditions import WAYS, Counted, control_flow, with_counts
from tasks.core.proof.observations import Observations
from tasks.core.proof.plan import Plan
from tasks.core.reference.reference import Reference
from tasks.core.runtime import sessions


def note_untaken_ways(plan: Plan, reference: Reference, seen: Observations) -> None:
    """Add doubts and notes on branches and loops that went some ways only, as the others were not compared.

    Args:
        plan: of the proof.
        reference: of the module.
        seen: the probes that were compared.
    """
    kept = control_flow(plan.graph.path)
    if kept & {*WAYS} and seen.compared:
        for is_doubt, said in _untaken_in_file(plan, reference, seen.compared):
            (seen.doubts if is_doubt else seen.notes).append(said)
    is_foreign = plan.graph.exporter == "other"  # else what was frozen was frozen before our eyes
    lines = reference.branches if is_foreign else plan.graph.branches
    for line in reference.untaken_lines(lines, seen.compared, kept=is_foreign and bool(kept)):
        seen.doubts.append(
            f"the module branches on values at {line}, where a trace keeps one side, and no probe shows whether the "
            f"file has the other; give inputs that take both sides with --sample, or a range that does"
        )


def _untaken_in_file(plan: Plan, reference: Reference, compared: Sequence[Probe]) -> Iterator[tuple[bool, str]]:
    """Is it a doubt, and what is to be said: of the file's own branches and loops, counted by a copy of it."""
    counting, counted = with_counts(plan.graph.path)
    if not any(node.on_values for node in counted) and (not counted or reference.groups):
        return  # a detector's branches are on how many items there are, and running it once more is dear
    feeds = (plan.feeds(reference.inputs.arrays(probe)) for probe in compared)
    try:
        counts = sessions.answers(counting, feeds, level="off", threads=plan.threads, folder=plan.graph.path.parent)
    except sessions.SessionError as error:
        said = (
            f"which sides of its If nodes the file takes could not be counted ({error}), so one may not have been run"
        )
        yield True, said
        return
    for index, node in enumerate(counted):
        times = np.sum([count[index] for count in counts], axis=0)
        untaken = [way for way, number in zip(WAYS[node.op_type], times, strict=True) if not number]
        if untaken:
            yield _said(node, untaken)


def _said(node: Counted, untaken: list[str]) -> tuple[bool, str]:
    """What is to be said of one branch or loop; it is a doubt where values decide, and nodes may never have run."""
    if node.op_type == "If" and node.on_values:
        return True, (
            f"no probe took the {untaken[0]} side of the file's branch {node.title}, so what that computes was not "
            f"compared; give inputs that take it with --sample, or a range of values that reaches it"
        )
    if node.op_type == "If":
        return False, f"no probe took the {untaken[0]} side of the file's branch {node.title}, which sizes decide"
    if node.on_values and "several turns" in untaken:
        return True, (
            f"no probe made the file's loop {node.title} turn more than once, so what it computes then was not "
            f"compared; give inputs that do with --sample, or a range of values that does"
        )
    return False, f"the file's loop {node.title} was not compared at {' and '.join(untaken)}"
