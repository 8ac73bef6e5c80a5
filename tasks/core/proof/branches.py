"""Branches that a file keeps, as `If`: was each of their sides taken by some probe that was compared?"""

from collections.abc import Iterator, Sequence

import numpy as np

from tasks.core.inputs.probes import Probe
from tasks.core.onnx_files.conditions import has_branches, with_counts
from tasks.core.onnx_files.lazy_reading import read_without_weights
from tasks.core.proof.plan import Plan
from tasks.core.reference.reference import Reference
from tasks.core.runtime import sessions


def untaken_sides(plan: Plan, reference: Reference, compared: Sequence[Probe]) -> Iterator[str]:
    """A sentence for each `If` of which these probes took one side only, as what is on the other was never run.

    Args:
        plan: of the proof.
        reference: whose inputs the probes are drawn from.
        compared: the probes.
    """
    if not compared or not has_branches(read_without_weights(plan.graph.path)):
        return
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
