"""What to declare where no exporter gives a right file for all sizes: narrower limits, or fixed ones."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from tasks.core.errors import Limits, ModelError
from tasks.core.inputs.inputs import Inputs
from tasks.core.inputs.probes import Probe, all_sizes, batch_name, dynamic_dims, plan_probes
from tasks.core.inputs.sizes import traced_sizes
from tasks.core.reference.reference import Reference
from tasks.core.spec.input_spec import Dim, InputSpec

FIXED_BATCH = 1


def refuses_beyond(reference: Reference, limits: Mapping[str, Limits]) -> bool:
    """Does the module itself refuse what an exporter excludes: the sizes next to its limits, and a few farther ones?

    Args:
        reference: of the module, which is run at these sizes.
        limits: what the exporter allows, by dimension.
    """
    dims, first = dynamic_dims(reference.inputs.specs), reference.inputs.probes[0]
    for name, (low, high) in limits.items():
        least, most = max(dims[name].low, 1), dims[name].high
        below = [] if low is None else [low - 1, (least + low - 1) // 2, least, 2]
        above = [] if high is None else [high + 1, high + 2, 2 * high, *([] if most is None else [most])]
        beyond = {size for size in below if least <= size < (low or 0)}
        beyond |= {size for size in above if high is not None and high < size <= (most or size)}
        for size in sorted(beyond):
            try:
                reference.float32(first.model_copy(update={"sizes": {**first.sizes, name: size}}))
            except ModelError:
                continue
            return False
    return True


def within(inputs: Inputs, limits: Mapping[str, Limits]) -> Inputs:
    """The inputs with narrower bounds, and the probes that lie within them.

    Args:
        inputs: as asked for.
        limits: by dimension.
    """

    def narrowed(dim: Dim) -> Dim:
        low, high = limits.get(dim.name or "", (None, None))
        changes = {"low": dim.low if low is None else low, "high": dim.high if high is None else high}
        return dim if dim.formula or dim.name not in limits else dim.model_copy(update=changes)

    def lies_within(probe: Probe) -> bool:
        ends = ((probe.sizes.get(name), low, high) for name, (low, high) in limits.items())
        return all(size is None or (low or 0) <= size <= (high or size) for size, low, high in ends)

    return replace(
        inputs, specs=_changed(inputs.specs, narrowed), probes=tuple(filter(lies_within, inputs.probes)), _drawn={}
    )


def with_fixed_sizes(inputs: Inputs) -> Iterator[tuple[str, Inputs]]:
    """The inputs with a fixed batch, with all else fixed, and with both, each with words for a sentence."""
    batch, names = batch_name(inputs.specs), [*dynamic_dims(inputs.specs)]
    others = [name for name in names if name != batch]
    for fixed in ([batch] if batch else [], others, names if batch and others else []):
        if fixed:
            sizes = {name: FIXED_BATCH if name == batch else traced_sizes(inputs.specs)[name] for name in fixed}
            yield f"a fixed {' and '.join(fixed)}", _with_fixed(inputs, sizes)


def declared(specs: Sequence[InputSpec]) -> str:
    """The options that declare these inputs."""
    return " ".join(f"--input '{spec}'" for spec in specs)


def _with_fixed(inputs: Inputs, fixed: Mapping[str, int]) -> Inputs:
    """The inputs at these sizes alone, and probes at the other sizes that were to be proven."""

    def settled(dim: Dim) -> Dim:
        if not dim.formula:
            return Dim(size=fixed[dim.name]) if dim.name is not None and dim.name in fixed else dim
        formula = re.sub(r"[A-Za-z_]\w*", lambda word: str(fixed.get(word[0], word[0])), dim.formula)
        if re.search(r"[A-Za-z_]", formula):
            return dim.model_copy(update={"formula": formula})
        return Dim(size=sizes[str(dim.name)])

    sizes = all_sizes(inputs.specs, {**traced_sizes(inputs.specs), **fixed})
    specs = _changed(inputs.specs, settled)
    seen = [probe.sizes for probe in inputs.probes if probe.sizes and probe.family != "large"]
    proven = {name: tuple(dict.fromkeys(case[name] for case in seen)) for name in dynamic_dims(specs)}
    return replace(inputs, specs=specs, probes=plan_probes(specs, proven, has_sample=False), sample=None, _drawn={})


def _changed(specs: tuple[InputSpec, ...], change: Callable[[Dim], Dim]) -> tuple[InputSpec, ...]:
    return tuple(spec.model_copy(update={"dims": tuple(map(change, spec.dims))}) for spec in specs)
