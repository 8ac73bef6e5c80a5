"""Dynamic dimensions: is each one dynamic in the file, and at which sizes was the file right?"""

from collections.abc import Iterator

from tasks.core.proof.trial import Trial
from tasks.core.records.evidence import DimProof


def prove_dims(trial: Trial) -> list[DimProof]:
    """One proof for each dimension that was asked for, of each input that the file has."""
    in_file = {t.name: t.dims for t in trial.graph.inputs}
    proofs = []
    for spec in trial.inputs.specs:
        if trial.file_inputs.get(spec.name, spec.name) not in in_file:
            continue  # an input that the file does without
        for axis, dim in enumerate(spec.dims):
            if dim.name is None:
                continue
            found = in_file[trial.file_inputs.get(spec.name, spec.name)]
            sizes = sorted({r.sizes[dim.name] for r in trial.records if dim.name in r.sizes})
            proofs.append(
                DimProof(
                    name=dim.name,
                    input=spec.name,
                    axis=axis,
                    in_file=axis < len(found) and not isinstance(found[axis], int),
                    sizes=tuple(sizes),
                    refused_by_model=trial.inputs.refused.get(dim.name, ()),
                )
            )
    return proofs


def dims_held_equal(trial: Trial) -> Iterator[str]:
    """Dimensions asked for under two names that the file declares under one."""
    asked: dict[str, set[str]] = {}
    in_file = {t.name: t.dims for t in trial.graph.inputs}
    for spec in trial.inputs.specs:
        found = in_file.get(trial.file_inputs.get(spec.name, spec.name), ())
        for dim, symbol in zip(spec.dims, found, strict=False):
            if dim.name and isinstance(symbol, str) and symbol != "?":
                asked.setdefault(symbol, set()).add(dim.name)
    for symbol, names in asked.items():
        if len(names) > 1:
            yield f"the file says that {' and '.join(sorted(names))} must be equal (both are {symbol})"
