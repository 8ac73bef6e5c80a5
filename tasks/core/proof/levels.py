"""Is a wrong answer the file's, or ONNX Runtime's optimiser's? And which of its passes is wrong?

A file that is right without optimisation and wrong with it is run with some of the passes left out, until one is found
without which it is right.
"""

import math
from collections.abc import Callable, Sequence

import onnxruntime

from tasks.core.arrays import worst
from tasks.core.errors import CrashError, ModelError, OutOfMemoryError
from tasks.core.inputs.probes import Probe
from tasks.core.localisation.defects import Defect, of_optimiser
from tasks.core.localisation.onnx_graph import OnnxGraph
from tasks.core.localisation.optimised_part import OptimisedPart
from tasks.core.proof.comparison import Comparison
from tasks.core.proof.observations import Observations, Observed
from tasks.core.proof.plan import Plan
from tasks.core.proof.verdict import is_wrong
from tasks.core.records.evidence import Blame
from tasks.core.reference.reference import Reference
from tasks.core.runtime import sessions
from tasks.core.runtime.passes import LEVELS, PASSES


def find_wrong_pass(plan: Plan, reference: Reference, seen: Observations) -> tuple[Blame | None, Defect | None]:
    """Which passes make a file wrong that is right without them, and of which of its nodes; None: the file is wrong.

    Args:
        plan: of the proof.
        reference: of the module.
        seen: at which probe the file is wrong.
    """
    if seen.failed_at is None and seen.first_answer is not None:
        return None, None  # nothing is wrong with its answers
    try:
        return _find_wrong_pass(plan, reference, seen.failed_at or plan.probes[0])
    except (CrashError, ModelError, OutOfMemoryError):
        return None, None


def _find_wrong_pass(plan: Plan, reference: Reference, probe: Probe) -> tuple[Blame | None, Defect | None]:
    def off_by(level: str, without: Sequence[str] = ()) -> float:
        return _off_by(plan, reference, probe, level=level, without=without)

    if off_by("off"):
        return None, None
    ratios = {level: off_by(level) for level in LEVELS[1:]}
    level = next((level for level, ratio in ratios.items() if ratio), None)
    if level is None:  # wrong where all probes of a family are taken together
        return None, None
    passes = wrong_passes(PASSES, lambda without: not off_by(level, without))
    instead = f"with the pass {' and '.join(passes)} disabled, " if passes else ""
    said = (
        f"what makes it wrong is the optimisation of ONNX Runtime {onnxruntime.__version__} at level {level}: "
        f"{instead}or without optimisation, it is right at {probe.sizes_in_words} ({probe.family} inputs)"
    )
    blame = Blame(
        kind="optimiser",
        passes=passes,
        level=level,
        own_ratio=ratios[level],
        sentence=said.replace(": or without", ": without"),
    )
    return blame, _defect(plan, reference, probe, blame=blame) if passes else None


def wrong_passes(passes: Sequence[str], is_right: Callable[[Sequence[str]], bool]) -> tuple[str, ...]:
    """A few passes without which a file is right, found by bisection; none: it is wrong without all of them, too.

    Args:
        passes: names, in the order of their runs.
        is_right: runs the file without some passes.
    """
    found: list[str] = []
    while not found or not is_right(found):
        if not is_right([*passes, *found]):
            return ()
        wrong, right = 0, len(passes)  # without as many of the first passes the file is wrong, right
        while right - wrong > 1:
            middle = (wrong + right) // 2
            wrong, right = (wrong, middle) if is_right([*passes[:middle], *found]) else (middle, right)
        found.append(passes[right - 1])
        passes = passes[: right - 1]
    return tuple(found)


def _off_by(plan: Plan, reference: Reference, probe: Probe, *, level: str, without: Sequence[str]) -> float:
    """The noise ratio of the file's answer to one probe; 0: it is within all limits."""
    feeds = plan.feeds(reference.inputs.arrays(probe))
    try:
        (answer,) = sessions.answers(plan.graph.path, [feeds], level=level, threads=plan.threads, without=without)
    except sessions.SessionError:
        return math.inf
    seen = Observations([Observed(name) for name in plan.output_names])
    Comparison(plan, reference, seen).compare(probe, [plan.in_our_order(answer)])
    results = [pool.result() for output in seen.outputs for pool in output.pools.values()]
    if seen.failures or any(count.num_unmatched for output in seen.outputs for count in output.items.values()):
        return math.inf
    return worst(result.noise_ratio for result in results if is_wrong(result))


def _defect(plan: Plan, reference: Reference, probe: Probe, *, blame: Blame) -> Defect | None:
    """The few nodes that the passes make wrong; None: no part of the file is wrong by itself."""
    graph = OnnxGraph(plan.graph.path)
    feeds = plan.feeds(reference.inputs.arrays(probe))
    part = OptimisedPart(graph, {name: feeds[name] for name in graph.feeds}, level=blame.level)
    found = part.smallest()
    return found and of_optimiser(reference.network, graph, found, values=part.values, blame=blame)
