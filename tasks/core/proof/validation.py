"""Prove a file: plan, run, judge, look for the node that is wrong; keep an answer with which a copy is compared."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tasks.core.accounting.account import Account
from tasks.core.arrays import Array, ratio, rms
from tasks.core.inputs.probes import Probe
from tasks.core.limits import CLOSER_LOOK, LENIENT_FAMILIES, MAX_SEARCH_NODES, SLICE_LIMIT, WITNESS_LIMIT
from tasks.core.localisation.defects import Defect
from tasks.core.localisation.search import localise
from tasks.core.onnx_files.checks import structural_findings, with_remedy
from tasks.core.onnx_files.quantisation import quantised
from tasks.core.proof.branches import note_untaken_ways
from tasks.core.proof.coverage import account_for, cover, looking_up_missing, told_by_answers
from tasks.core.proof.levels import find_wrong_pass
from tasks.core.proof.observations import Observations, Observed
from tasks.core.proof.plan import Plan, make_plan
from tasks.core.proof.power import block_powers
from tasks.core.proof.run import ProbeRun
from tasks.core.proof.verdict import judge
from tasks.core.records.evidence import Evidence, FamilyParity
from tasks.core.records.steps import Candidate
from tasks.core.reference.reference import Reference
from tasks.core.runtime import sessions


@dataclass(frozen=True)
class Witness:
    """One probe and the proven file's answer to it."""

    arrays: Mapping[str, Array]
    """By the file's input names."""
    answers: tuple[Array, ...]
    """The file's outputs, in its own order."""

    def disagreement(self, path: Path) -> str:
        """How another file's answer differs, in a few words; empty: it does not."""
        try:
            (found,) = sessions.answers(path, [self.arrays])
        except sessions.SessionError as error:
            return str(error)
        if len(found) != len(self.answers):
            return f"{len(found)} outputs instead of {len(self.answers)}"
        for a, b in zip(self.answers, found, strict=True):
            if a.shape != b.shape or a.dtype != b.dtype:
                return f"{b.dtype}{list(b.shape)} instead of {a.dtype}{list(a.shape)}"
            if a.dtype.kind == "f" and not np.array_equal(np.isfinite(a), np.isfinite(b)):
                return "other elements that are not finite"
            if a.dtype.kind == "f" and not ratio(rms(b - a), rms(a)) <= WITNESS_LIMIT:
                return f"a relative difference of {ratio(rms(b - a), rms(a)):.2g}"
            if a.dtype.kind != "f" and not np.array_equal(a, b):
                return "other integers"
        return ""


@dataclass(frozen=True)
class Proof:
    """What validation found out about a file."""

    evidence: Evidence
    defect: Defect | None
    """Of a wrong file, the first node that is wrong; None: the file is right, or no node can be named."""
    witness: Witness | None
    """The file's answer to the first probe, to hold a copy against; None: it was not run."""


def validate(
    candidate: Candidate,
    reference: Reference,
    *,
    constant_outputs: tuple[str, ...] = (),
    random_weights: bool = False,
    notes: tuple[str, ...] = (),
    threads: int | None = None,
    keep: bool = False,
) -> Proof:
    """Check the file's structure, run every probe, and judge. Never raises because a number is bad.

    Args:
        candidate: the file.
        reference: of the module.
        constant_outputs: names of outputs that are meant not to depend on the input.
        random_weights: the module's weights are random, as the evidence then says.
        notes: what else the evidence is to say.
        threads: of ONNX Runtime, within an operator; None: as many as PyTorch has.
        keep: leave what the reference answered in memory, for another file.
    """
    with sessions.opening(candidate.graph.path, threads=threads):
        plan = replace(
            make_plan(candidate, reference),
            constant_outputs=constant_outputs,
            random_weights=random_weights,
            threads=threads,
        )
        known = account_for(plan, reference)
        if isinstance(known, Account):
            plan = looking_up_missing(plan, reference, known)
        seen = _observe(plan, candidate, reference, notes=notes, keep=keep)
    evidence = judge(plan, seen)
    if evidence.verdict == "fail" and (sentence := quantised(plan.graph.path)):
        seen = replace(seen, failures=[sentence, *seen.failures])
    blame, defect = find_wrong_pass(plan, reference, seen) if evidence.verdict == "fail" else (None, None)
    if blame is not None:
        seen = replace(seen, failures=[blame.sentence, *seen.failures])
    else:
        defect, failures, found = _search(plan, reference, seen, evidence=evidence)
        seen = replace(seen, failures=[*seen.failures, *failures], notes=[*seen.notes, *found])
    evidence = judge(plan, seen)
    if isinstance(known, Account):
        right = seen.compared if evidence.verdict == "pass" else ()
        told = told_by_answers(plan, reference, known, probes=right)
        failures = [altered.sentence for altered, is_there in told.items() if is_there]
        coverage = cover(known, reference, () if failures else right, told=told)
        evidence = judge(plan, replace(seen, failures=[*seen.failures, *failures], coverage=coverage))
    else:
        evidence = evidence.model_copy(update={"notes": (*evidence.notes, known)})
    evidence = evidence.model_copy(update={"blame": defect.blame if defect else blame})
    witness = None
    if seen.first_answer is not None:
        witness = Witness(plan.feeds(reference.inputs.arrays(plan.probes[0])), seen.first_answer)
    if not keep:
        reference.release()
    return Proof(evidence, defect, witness)


def _observe(
    plan: Plan, candidate: Candidate, reference: Reference, *, notes: tuple[str, ...], keep: bool
) -> Observations:
    """See whether the module can be held against, check the structure of the file, run the probes."""
    names = plan.output_names
    seen = Observations(
        outputs=[Observed(name) for name in names],
        failures=[*candidate.failures],
        notes=[*notes, *reference.inputs.notes, *candidate.notes],
        skipped=[*reference.inputs.skipped],
    )
    if reason := reference.unrepeatable(names) or reference.inputs.overwritten:
        seen.doubts.append(reason)
    else:
        seen.failures += structural_findings(plan.graph)
    if not seen.failures and not seen.doubts:
        try:
            ProbeRun(plan, reference, seen, known=candidate.answers, keep=keep).run()
        except sessions.SessionError as error:
            seen.failures.append(with_remedy(plan.graph, f"ONNX Runtime refuses it: {error}"))
    if not seen.failures and not seen.doubts:
        note_untaken_ways(plan, reference, seen)
    seen.doubts += filter(None, [reference.fused_way])
    seen.doubts += filter(None, (reference.other_way(probe, index) for index, (_, probe) in seen.suspicious.items()))
    if seen.failures or seen.doubts:  # else `judge` asks for every one
        known = {probe.key for probe in (*seen.compared, *(probe for probe, _ in seen.skipped))}
        seen.skipped += [(probe, "not reached") for probe in plan.probes if probe.key not in known]
    first_two = plan.probes[:2]
    if all(probe in seen.compared for probe in first_two):
        seen.blocks += block_powers(*(reference.additions(probe) for probe in first_two))
    seen.floor = reference.floor
    seen.notes += filter(None, [reference.floor_note])
    return seen


def _search(
    plan: Plan, reference: Reference, seen: Observations, *, evidence: Evidence
) -> tuple[Defect | None, list[str], list[str]]:
    """Look for the node that makes the file wrong, also where a file that passes is farther off than most.

    And where the module chooses, compares or rounds: that hides whatever moves none of few elements over an edge.
    """
    if evidence.verdict != "pass" and plan.graph.num_nodes > MAX_SEARCH_NODES:
        return None, [], [f"the wrong node was not looked for: the file has {plan.graph.num_nodes:,} of them"]
    handed: dict[str, Any] = {
        "feeds": lambda probe: plan.feeds(reference.inputs.arrays(probe)),
        "output_order": plan.output_order,
    }
    if evidence.verdict == "fail":
        defect, notes = localise(reference, plan.graph, probes=_failing(reference.inputs.probes, seen), **handed)
        return defect, [], notes
    # of values that the module names some are NaN on the way, where nodes can't be compared; large ones take memory
    families = [f for o in evidence.outputs for f in o.families if f.family not in (*LENIENT_FAMILIES, "large")]
    decides = not reference.groups and (reference.thresholds.decides or any(f.is_exact for f in families))
    suspicious = [family for family in families if decides or _is_suspicious(family)]
    if evidence.verdict == "inconclusive" or not suspicious:
        return None, [], []
    worst = max(suspicious, key=lambda family: max(family.noise_ratio, family.borrowed_ratio))
    # on the first probe of all, and on the first of the family that was farthest off
    farthest = next(probe for probe in plan.probes if probe.family == worst.family)
    probes = list({probe.key: probe for probe in (plan.probes[0], farthest)}.values())
    defect, notes = localise(reference, plan.graph, probes=probes, hidden=True, **handed)
    wrong = [f"{defect.blame.sentence}: little of it reaches the outputs on these probes"] if defect else []
    return defect, wrong, notes


def _is_suspicious(family: FamilyParity) -> bool:
    """Is it farther off than most, or held to a floor that is not its own?"""
    return family.noise_ratio > CLOSER_LOOK or family.borrowed_ratio > SLICE_LIMIT


def _failing(planned: tuple[Probe, ...], seen: Observations) -> list[Probe]:
    """The probe that was seen to fail; where its whole family was, all of it, the smallest first."""
    failed = seen.failed_at or planned[0]
    if seen.failures:
        return [failed]
    same = [probe for probe in planned if probe.family == failed.family]
    return sorted(same or [failed], key=lambda probe: tuple(probe.sizes.values()))
