"""Branches on values, of a file and of the module: was each side taken by some probe that was compared?"""

from collections.abc import Iterator, Sequence

import numpy as np

from tasks.core.inputs.probes import Probe
from tasks.core.onnx_files.conditions import control_flow, with_counts
from tasks.core.proof.plan import Plan
from tasks.core.reference.reference import Reference
from tasks.core.runtime import sessions


def untaken_sides(plan: Plan, reference: Reference, compared: Sequence[Probe]) -> Iterator[str]:
    """A sentence for each branch of which these probes took one side only, as the other was never held against.

    Args:
        plan: of the proof.
        reference: of the module.
        compared: the probes.
    """
    kept = control_flow(plan.graph.path)
    if "If" in kept and compared:
        yield from _untaken_in_file(plan, reference, compared)
    is_foreign = plan.graph.exporter == "other"  # else what was frozen was frozen before our eyes
    lines = reference.branches if is_foreign else plan.graph.branches
    for line in reference.untaken_lines(lines, compared, kept=is_foreign and bool(kept)):
        yield (
            f"the module branches on values at {line}, where a trace keeps one side, and no probe shows whether the "
            f"file has the other; give inputs that take both sides with --sample, or a range that does"
        )


def _untaken_in_file(plan: Plan, reference: Reference, compared: Sequence[Probe]) -> Iterator[str]:
    """The same for the file's own branches, counted by a copy of it."""
    counting, titles = with_counts(plan.graph.path)
    if not titles:
        return
    feeds = (plan.feeds(reference.inputs.arrays(probe)) for probe in compared)
    try:
        counts = sessions.answers(counting, feeds, level="off", threads=plan.threads, folder=plan.graph.path.parent)
    except sessions.SessionError as error:
        yield f"which sides of its If nodes the file takes could not be counted ({error}), so one may not have been run"
        return
    for title, count in zip(titles, np.sum(counts, axis=0), strict=True):
        for side, num_taken in zip(("else", "then"), count, strict=True):
            if not num_taken:
                yield (
                    f"no probe took the {side} side of the file's branch {title}, so what that computes was not "
                    f"compared; give inputs that take it with --sample, or a range of values that reaches it"
                )
