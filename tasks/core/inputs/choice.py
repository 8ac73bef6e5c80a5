"""Choose the inputs of a model: names, dtypes, sizes, and how forward takes them."""

import functools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from tasks.core.arrays import Array
from tasks.core.errors import InputsError, SpecError, is_own_fault, refusal_of
from tasks.core.families.registry import family_of
from tasks.core.forward.arguments import Arguments, argument_paths, build_arguments, forward_order, renamed
from tasks.core.forward.loaded_state import LoadedState
from tasks.core.forward.outputs import flatten
from tasks.core.forward.precision import run_float32
from tasks.core.forward.taken_instructions import instructions_of, numbers_of
from tasks.core.inputs.equations import with_equations
from tasks.core.inputs.first_call import overwritten, sentence
from tasks.core.inputs.inputs import Inputs
from tasks.core.inputs.large_sizes import LargeSizes
from tasks.core.inputs.masks import NOT_FINITE, find_masks
from tasks.core.inputs.other_ways import Module, Search
from tasks.core.inputs.probes import Probe, base_family, batch_name, dynamic_dims, plan_probes
from tasks.core.inputs.samples import checked_sample, declared_inputs, read_sample
from tasks.core.inputs.sizes import Refusal, Sizes, sizes_to_prove, traced_sizes, with_sizes
from tasks.core.inputs.special_probes import legal
from tasks.core.inputs.special_values import SpecialValues
from tasks.core.spec.export_spec import ResolvedSpec
from tasks.core.spec.input_memory import check_input_memory
from tasks.core.spec.input_spec import InputSpec, derived_dims


def choose_inputs(spec: ResolvedSpec, model: nn.Module) -> Inputs:
    """Choose names, dtypes and sizes, and plan the probes.

    A SpecError if names, shapes and sample contradict each other; an InputsError if nothing says what the inputs are,
    or the module refuses them; an OutOfMemoryError if it does not fit into memory at a size that is to be proven.

    Args:
        spec: what is exported.
        model: its module in eval mode, which is run at each size.
    """
    sample = read_sample(spec.sample) if spec.sample else None
    chosen = _unproven_inputs(spec, model, sample)
    loaded = LoadedState(model)
    with loaded.watched():
        error = _refusal(model, chosen, traced_sizes(chosen.specs))
    if error:
        shown = ", ".join(map(str, chosen.specs))
        raise InputsError(f"{type(model).__name__} does not run on {shown}: {error}.")
    if names := overwritten(loaded, lambda seed: _answer(model, chosen, chosen.traced_arrays(seed=seed))):
        loaded.restore()
        chosen = replace(chosen, loaded=loaded, overwritten=sentence(names))
    chosen, is_finite = _with_special(model, chosen)
    chosen, sizes, refused, broadcast = _with_equations(model, chosen, is_finite=is_finite)
    if sample is not None:
        sample = checked_sample(sample, chosen.specs)
    probes = plan_probes(chosen.specs, sizes, has_sample=sample is not None)
    batch = batch_name(chosen.specs)
    batch = None if batch in refused else batch
    probes += tuple(
        probes[0].model_copy(update={"seed": seed, "sizes": {**probes[0].sizes, name: 1}})
        for seed, name in enumerate(broadcast, start=30)
    )
    probes += (*chosen.specials.plan(probes, batch=batch), *chosen.masks.plan(probes[0], batch=batch))
    chosen = replace(chosen, probes=probes, refused=refused, sample=sample)
    chosen = chosen if family_of(spec.model).has_known_sizes else _with_other_ways(model, chosen)
    large, skipped = LargeSizes(chosen, functools.partial(_further_refusal, model, chosen)).find()
    return replace(chosen, probes=(*chosen.probes, *large), skipped=skipped)


def _with_equations(model: nn.Module, chosen: Inputs, *, is_finite: bool) -> tuple[Inputs, Sizes, Sizes, list[str]]:
    """Choose the sizes to prove; where dimensions can't be varied alone, find the equations that they are bound by.

    Sizes at which the answer is not finite are left out, if it `is_finite` at the traced ones. Dimensions that may be 1
    beside an equation, as what is broadcast may, come last.
    """
    refusal = functools.partial(_refusal, model, chosen, is_finite=is_finite)
    sizes, refused = sizes_to_prove(chosen.specs, refusal)
    broadcast = list[str]()
    specs, notes = with_equations(chosen.specs, {name: sizes[name] for name in refused}, refusal)
    if notes:
        specials, masks = replace(chosen.specials, specs=specs), replace(chosen.masks, specs=specs)
        chosen = replace(chosen, specs=specs, notes=(*chosen.notes, *notes), specials=specials, masks=masks)
        refusal = functools.partial(_refusal, model, chosen, is_finite=is_finite)
        broadcast = [name for name in derived_dims(specs) if 1 in sizes.get(name, ())[1:]]
        sizes, refused = sizes_to_prove(specs, refusal)
    left_out = _left_out(chosen.specs, refused, refusal) if is_finite else ()
    return replace(chosen, notes=(*chosen.notes, *left_out)), sizes, refused, broadcast


def _left_out(specs: tuple[InputSpec, ...], refused: Sizes, refusal: Refusal) -> Iterator[str]:
    """A sentence for each dimension at some sizes of which the module is not finite, with the way to leave them out."""
    traced = traced_sizes(specs)
    for name, sizes in refused.items():
        left_out = [size for size in sizes if refusal({**traced, name: size}) == NOT_FINITE]
        if left_out:
            dim, shown = dynamic_dims(specs)[name], ", ".join(map(str, left_out))
            low = max((size + 1 for size in left_out if size < traced[name]), default=dim.low)
            high = min((size - 1 for size in left_out if size > traced[name]), default=dim.high)
            declared = dim.model_copy(update={"low": low, "high": high})
            yield f"{name}={shown} is left out: PyTorch itself gives NaN or Inf there; declare {declared} to say so"


def example_of(spec: ResolvedSpec, model: nn.Module) -> Arguments:
    """Args and kwargs of forward for a module whose weights are not set yet; nothing is run.

    A list of one item, such as a detector's picture, has three, with other values, the last of the wide family:
    deep in the network all pictures of even noise look alike, and statistics of these alone fit no other one.

    Args:
        spec: what is exported.
        model: its module.
    """
    inputs = _unproven_inputs(spec, model, read_sample(spec.sample) if spec.sample else None)
    args, kwargs = inputs.example()
    if [path.keys for path in inputs.argument_paths] != [(0,)]:
        return args, kwargs
    drawn = (inputs.traced_arrays(seed=-1), inputs.traced_arrays(seed=-2, family="wide"))
    others = [inputs.arguments(arrays) for arrays in drawn]
    return (
        tuple([*items, *(other[index][0] for other, _ in others)] for index, items in enumerate(args)),
        {name: [*items, *(other[name][0] for _, other in others)] for name, items in kwargs.items()},
    )


def _unproven_inputs(spec: ResolvedSpec, model: nn.Module, sample: Mapping[str, Array] | None) -> Inputs:
    """Names, dtypes, sizes to trace at and argument paths, in forward's order; no probes yet."""
    declared = declared_inputs(spec, model, sample)
    paths = argument_paths([item.name for item in declared], model)
    order = forward_order(paths, model)
    known = () if spec.inputs or sample else family_of(spec.model).input_names(model)
    names = spec.input_names or known or [item.name for item in declared]
    if len(names) < len(declared):
        raise SpecError(
            f"{len(declared)} inputs need as many input_names, not {len(names)}; further ones label parameters."
        )
    specs = with_sizes(tuple(declared[i].model_copy(update={"name": names[i]}) for i in order), sample)
    check_input_memory(specs)
    notes = renamed([item.name for item in declared], paths, model)
    return Inputs(specs, tuple(paths[index] for index in order), probes=(), notes=notes)


def _with_other_ways(model: nn.Module, inputs: Inputs) -> Inputs:
    """Add probes at sizes at which the module's code goes another way, and what is not known of such sizes."""
    first = inputs.probes[0]
    if not first.sizes:
        return inputs
    from tasks.core.forward.size_conditions import way_at  # imports half a second of PyTorch

    refusal = functools.partial(_further_refusal, model, inputs)
    module = Module(
        refusal,
        way=functools.partial(way_at, model, inputs.arguments_without_values),
        instructions=lambda sizes: instructions_of(model, lambda: refusal(sizes)),
        numbers=functools.partial(numbers_of, model),
        tables={part.num_embeddings for part in model.modules() if isinstance(part, nn.Embedding)},
    )
    found = Search(inputs.specs, module, proven=(probe.sizes for probe in inputs.probes if probe.sizes)).run()
    further = (
        first.model_copy(update={"seed": seed, "sizes": case, "levels": ("all",)})
        for seed, case in enumerate(found.cases, start=40)
    )
    notes = (*inputs.notes, *found.notes)
    return replace(inputs, probes=(*inputs.probes, *further), doubts=tuple(found.doubts), notes=notes)


def _answer(model: nn.Module, inputs: Inputs, arrays: Mapping[str, Array]) -> list[torch.Tensor]:
    """Copies of what the module gives."""
    with inputs.kept():
        return [tensor.clone() for _, tensor in flatten(run_float32(model, *inputs.arguments(arrays)))]


def _with_special(model: nn.Module, inputs: Inputs) -> tuple[Inputs, bool]:
    """The inputs with what is special about them; and is the module's answer finite at the traced sizes?"""
    base = Probe(family=base_family(inputs.specs), seed=0, sizes=traced_sizes(inputs.specs))
    drawn = inputs.traced_arrays()
    tensors = inputs.tensors(drawn)
    watch = SpecialValues(tensors)
    try:
        with inputs.kept(), watch:
            args, kwargs = build_arguments(inputs.argument_paths, tensors)
            outcome = _finiteness(run_float32(model, args, kwargs))
    except Exception as error:  # of the user's forward, which runs but perhaps can't be watched
        if is_own_fault(error):
            raise
        watch, outcome = SpecialValues(()), NOT_FINITE
    looked_up = {table.input for table in watch.tables}
    masks = find_masks(
        inputs.specs,
        looked_up,
        drawn=(drawn, inputs.traced_arrays(seed=1)),
        run=lambda arrays: _outcome(model, inputs, arrays),
        answer=lambda arrays: _answer(model, inputs, arrays),
    )
    specials = legal(watch.specials, watch.tables, inputs.specs)
    inputs = replace(inputs, specials=specials, masks=masks, notes=(*inputs.notes, *masks.notes))
    return inputs, not (outcome and _outcome(model, inputs, inputs.draw(base)))


def _refusal(model: nn.Module, inputs: Inputs, sizes: dict[str, int], *, is_finite: bool = False) -> str:
    """What the module raises at these sizes, in one line; empty: it runs, and its answer `is_finite` if it must be."""
    outcome = _outcome(model, inputs, inputs.draw(Probe(family=base_family(inputs.specs), seed=0, sizes=sizes)))
    return "" if outcome == NOT_FINITE and not is_finite else outcome


def _further_refusal(model: nn.Module, inputs: Inputs, sizes: dict[str, int]) -> str:
    """The same at a size that nobody traces at: a table that grows there is not what is exported."""
    with LoadedState(model).kept():
        return _refusal(model, inputs, sizes, is_finite=True)


def _outcome(model: nn.Module, inputs: Inputs, arrays: Mapping[str, Array]) -> str:
    """What the module raises on these arrays, in one line, or `NOT_FINITE`; empty: its answer is finite."""
    args, kwargs = inputs.arguments(arrays)
    try:
        with inputs.kept():
            return _finiteness(run_float32(model, args, kwargs))
    except Exception as error:  # the user's forward may raise anything; it becomes one sentence
        dims = [zip(spec.dims, arrays[spec.name].shape, strict=True) for spec in inputs.specs]
        sizes = {dim.name: size for pairs in dims for dim, size in pairs if dim.name is not None}
        return refusal_of(error, model, where=Probe(family="normal", seed=0, sizes=sizes).sizes_in_words)


def _finiteness(output: Any) -> str:
    """`NOT_FINITE` where some number of an answer is NaN or infinite."""
    return "" if all(bool(torch.isfinite(tensor).all()) for _, tensor in flatten(output)) else NOT_FINITE
