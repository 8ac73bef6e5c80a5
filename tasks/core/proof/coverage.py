"""Which weights are in the file, and which of the others the probes exercised: what is neither can't pass."""

import contextlib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tasks.core.accounting.account import Account, Altered, Weight, account
from tasks.core.accounting.constants import FOLDED, IDENTICAL, NARROWED, REARRANGED
from tasks.core.arrays import rms
from tasks.core.errors import ModelError
from tasks.core.forward.fixed_values import weights_of
from tasks.core.inputs.probes import Probe
from tasks.core.limits import MAX_MISSING_PROBES, NOISE_LIMIT
from tasks.core.onnx_files.conditions import control_flow
from tasks.core.proof.altered import FileErrors
from tasks.core.proof.plan import Plan
from tasks.core.records.evidence import Coverage, MissingWeight
from tasks.core.reference.reference import Reference

Bools = NDArray[np.bool_]


def account_for(plan: Plan, reference: Reference) -> Account | str:
    """Look for the module's weights in the file; a sentence says why that can't be done.

    Args:
        plan: of the proof, with the file.
        reference: of the module.
    """
    try:
        has_branches = bool(control_flow(plan.graph.path))
        fixed = (
            reference.fixed_values_at([p for p in plan.probes if not p.optional])
            if has_branches
            else reference.fixed_values
        )
    except ModelError as error:
        return f"the weights could not be held against the file's constants: {error}"
    return account(plan.graph.path, reference.network, fixed)


def looking_up_missing(plan: Plan, reference: Reference, account: Account) -> Plan:
    """Plan further probes that look up the rows of tables which are not in the file.

    Args:
        plan: so far.
        reference: of the module, whose inputs then hold the arrays of these probes.
        account: what is missing.
    """
    inputs, first = reference.inputs, plan.probes[0]
    tensors = weights_of(reference.network)
    probes: list[Probe] = []
    for weight in account.weights:
        if weight.missing is None or weight.missing.ndim < 2:
            continue
        rows = np.flatnonzero(weight.missing.reshape(len(weight.missing), -1).any(axis=1)).tolist()
        arrays = inputs.specials.looking_up(tensors[weight.name].data_ptr(), rows, inputs.arrays(first))
        if arrays and len(probes) < MAX_MISSING_PROBES:
            seed = zlib.crc32(f"{weight.name}/{rows}".encode())  # of other rows the module's answers are others
            changes = {"family": "rows", "seed": seed, "levels": ("all",), "rows": ()}
            probes.append(first.model_copy(update=changes))
            inputs.hold(probes[-1], arrays)
    return replace(plan, probes=(*plan.probes, *probes))


def told_by_answers(
    plan: Plan, reference: Reference, account: Account, *, probes: Sequence[Probe]
) -> dict[Altered, bool]:
    """See of the constants that should be weights which ones the file computes with; what can't be told is left out.

    Args:
        plan: of the proof.
        reference: of the module.
        account: what is in the file.
        probes: at which the file is right; none if it is wrong, or nothing can be said.
    """
    if not account.altered or not probes:
        return {}
    errors = FileErrors(plan, reference, probes)
    told = {altered: errors.computes_with(altered) for altered in account.altered}
    return {altered: is_there for altered, is_there in told.items() if is_there is not None}


def cover(account: Account, reference: Reference, probes: Sequence[Probe], *, told: Mapping[Altered, bool]) -> Coverage:
    """Say which weights are in the file, and see which elements of the others the probes exercised.

    Args:
        account: what is in the file.
        reference: of the module.
        probes: at which the file is right; none if it is wrong, or nothing can be said.
        told: of constants that should be weights, whether the file computes with them.
    """
    lost = [weight for weight in account.weights if weight.found is None]
    unclear = {altered.weight: altered.constant for altered in account.altered if told.get(altered, True)}
    tried = [weight for weight in lost if weight.name not in unclear]
    exercised = _exercised(tried, reference, probes) if tried else {}
    missing = tuple(
        _missing(weight, exercised.get(weight.name), constant=unclear.get(weight.name, "")) for weight in lost
    )
    kinds = [weight.found.kind for weight in account.weights if weight.found]
    num_elements = sum(weight.num_elements for weight in account.weights)
    return Coverage(
        num_weights=len(account.weights),
        **{kind: kinds.count(kind) for kind in (IDENTICAL, REARRANGED, NARROWED, FOLDED)},
        missing=missing,
        unexplained=account.unexplained,
        share=1 - sum(weight.num_unexercised for weight in missing) / max(num_elements, 1),
    )


def _exercised(lost: list[Weight], reference: Reference, probes: Sequence[Probe]) -> dict[str, Bools]:
    """By name of a weight: which elements would show in some probe, were they off by what is usual in the weight."""
    found: dict[str, Bools] = {
        weight.name: np.zeros(weight.missing.shape, dtype=bool) for weight in lost if weight.missing is not None
    }
    tensors = weights_of(reference.network)
    usual = {name: rms(tensors[name].detach().float().cpu().numpy()) or 1.0 for name in found}
    for probe in probes:
        if all(found[weight.name][weight.missing].all() for weight in lost):
            break
        errors = zip(reference.float32(probe), reference.float64(probe), strict=True)
        scales = [
            max(rms(a.astype(np.float64) - b), np.finfo(a.dtype).eps * rms(b))
            if a.dtype.kind == "f" and a.shape == b.shape
            else 0.0
            for a, b in errors
        ]
        with contextlib.suppress(ModelError):  # a module may have no gradients: then nothing is known to be exercised
            for name, gradient in reference.gradients(probe, names=list(found), scales=scales).items():
                found[name] |= gradient * usual[name] > NOISE_LIMIT
    return found


def _missing(weight: Weight, exercised: Bools | None, *, constant: str) -> MissingWeight:
    assert weight.missing is not None
    unexercised = weight.missing if exercised is None else weight.missing & ~exercised
    shown = unexercised if unexercised.any() else weight.missing
    return MissingWeight(
        name=weight.name,
        num_elements=weight.num_elements,
        num_missing=int(weight.missing.sum()),
        num_unexercised=int(unexercised.sum()),
        first=tuple(int(i) for i in np.argwhere(shown)[0]) if shown.any() else (),
        constant=constant,
    )
