"""Prove a file: plan, run, judge, and look for the node that is wrong."""

import dataclasses
from typing import Any

from tasks.core.inputs.probes import Probe
from tasks.core.limits import CLOSER_LOOK
from tasks.core.localisation.defects import Defect
from tasks.core.localisation.search import localise
from tasks.core.onnx_files.checks import structural_findings
from tasks.core.proof.observations import Observations, Observed
from tasks.core.proof.plan import Plan, make_plan
from tasks.core.proof.power import block_powers
from tasks.core.proof.proof import Proof, Witness
from tasks.core.proof.run import ProbeRun
from tasks.core.proof.verdict import judge
from tasks.core.records.evidence import Evidence
from tasks.core.records.steps import Candidate
from tasks.core.reference.reference import Reference
from tasks.core.runtime import sessions


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
        plan = dataclasses.replace(
            make_plan(candidate, reference),
            constant_outputs=constant_outputs,
            random_weights=random_weights,
            threads=threads,
        )
        seen = _observe(plan, candidate, reference, notes=notes, keep=keep)
    evidence = judge(plan, seen)
    defect, failures, found = _search(plan, reference, seen, evidence=evidence)
    if failures or found:
        seen = dataclasses.replace(seen, failures=[*seen.failures, *failures], notes=[*seen.notes, *found])
        evidence = judge(plan, seen)
    if defect is not None:
        evidence = evidence.model_copy(update={"blame": defect.blame})
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
        outputs=[Observed(name) for name in names], failures=[*candidate.failures], notes=[*notes, *candidate.notes]
    )
    if reason := reference.unrepeatable(names):
        seen.doubts.append(reason)
    else:
        seen.failures += structural_findings(plan.graph)
    if not seen.failures and not seen.doubts:
        try:
            ProbeRun(plan, reference, seen, known=candidate.answers, keep=keep).run()
        except sessions.SessionError as error:
            seen.failures.append(f"ONNX Runtime refuses it: {error}")
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

    Returns:
        The defect, what is wrong because of it, and notes of the search.
    """
    handed: dict[str, Any] = {
        "feeds": lambda probe: plan.feeds(reference.inputs.arrays(probe)),
        "output_order": plan.output_order,
    }
    if evidence.verdict == "fail":
        defect, notes = localise(reference, plan.graph, probes=_failing(reference.inputs.probes, seen), **handed)
        return defect, [], notes
    families = [family for output in evidence.outputs for family in output.families]
    worst = max(families, key=lambda family: family.noise_ratio, default=None)
    if evidence.verdict == "inconclusive" or worst is None or not worst.noise_ratio > CLOSER_LOOK:
        return None, [], []
    # on the first probe of all, and on the first of the family that was farthest off
    farthest = next(probe for probe in plan.probes if probe.family == worst.family)
    probes = list({probe.key: probe for probe in (plan.probes[0], farthest)}.values())
    defect, notes = localise(reference, plan.graph, probes=probes, hidden=True, **handed)
    wrong = [f"{defect.blame.sentence}: little of it reaches the outputs on these probes"] if defect else []
    return defect, wrong, notes


def _failing(planned: tuple[Probe, ...], seen: Observations) -> list[Probe]:
    """The probe that was seen to fail; where its whole family was, all of it, the smallest first."""
    failed = seen.failed_at or planned[0]
    if seen.failures:
        return [failed]
    same = [probe for probe in planned if probe.family == failed.family]
    return sorted(same or [failed], key=lambda probe: tuple(probe.sizes.values()))
