"""Dynamic dimensions: is each one dynamic in the file, and at which sizes was the file right?"""

from collections.abc import Iterator, Sequence

from tasks.core.inputs.probes import Probe
from tasks.core.proof.plan import Plan
from tasks.core.records.evidence import DimProof
from tasks.core.spec.input_spec import InputSpec


def prove_dims(plan: Plan, compared: Sequence[Probe]) -> list[DimProof]:
    """One proof for each dimension that was asked for, of each input that the file has.

    Args:
        plan: of the proof.
        compared: probes at whose sizes the file was held against the module.
    """
    return [
        DimProof(
            name=dim.name,
            input=spec.name,
            axis=axis,
            in_file=axis < len(found) and not isinstance(found[axis], int),
            sizes=tuple(sorted({probe.sizes[dim.name] for probe in compared if dim.name in probe.sizes})),
            refused_by_model=plan.refused.get(dim.name, ()),
        )
        for spec, found in _inputs_in_file(plan)
        for axis, dim in enumerate(spec.dims)
        if dim.name is not None
    ]


def dims_held_equal(plan: Plan) -> Iterator[str]:
    """Dimensions asked for under two names that the file declares under one."""
    asked: dict[str, set[str]] = {}
    for spec, found in _inputs_in_file(plan):
        for dim, symbol in zip(spec.dims, found, strict=False):
            if dim.name and isinstance(symbol, str) and symbol != "?":
                asked.setdefault(symbol, set()).add(dim.name)
    for symbol, names in asked.items():
        if len(names) > 1:
            yield f"the file says that {' and '.join(sorted(names))} must be equal (both are {symbol})"


def _inputs_in_file(plan: Plan) -> Iterator[tuple[InputSpec, tuple[int | str, ...]]]:
    """Each input that the file has, and its dims there."""
    in_file = {value.name: value.dims for value in plan.graph.inputs}
    for spec in plan.specs:
        name = plan.file_inputs.get(spec.name, spec.name)
        if name in in_file:
            yield spec, in_file[name]
