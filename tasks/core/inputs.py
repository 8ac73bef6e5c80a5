"""Choose the inputs of a model: names, dtypes, sizes, and how forward takes them."""

import inspect
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from tasks.core.errors import InputsError, SpecError
from tasks.core.precision import run_float32
from tasks.core.probes import (
    BATCH_SIZES,
    MAX_SAMPLE_ROWS,
    Array,
    Probe,
    base_family,
    batch_name,
    draw,
    dynamic_dims,
    plan_probes,
)
from tasks.core.spec import INPUT_SYNTAX, INTEGER_DTYPES, Dim, ExportSpec, InputSpec

LARGE_SIZE = 32
"""Dimensions traced at a larger size, as a picture's height, are not tried at 1 and 2: few modules take them."""
MAX_GROWTH = 4
"""Multiple of the traced size up to which an upper bound is run."""


@dataclass(frozen=True)
class Inputs:
    """The inputs of one model: what to trace with, and what to prove with."""

    specs: tuple[InputSpec, ...]
    """One an input, every size chosen."""
    keywords: tuple[str, ...]
    """Forward's own names of the inputs, by which they are passed; empty: by position."""
    probes: tuple[Probe, ...]
    refused: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Sizes of a dynamic dimension at which the module itself raises."""
    sample: Mapping[str, Array] | None = None
    _drawn: dict[tuple[object, ...], dict[str, Array]] = field(default_factory=dict, compare=False, repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        """The names in the file."""
        return tuple(spec.name for spec in self.specs)

    def arrays(self, probe: Probe) -> dict[str, Array]:
        """The arrays of a probe, by input name."""
        if probe.family == "sample":
            assert self.sample is not None
            return dict(self.sample)
        if probe.key not in self._drawn:
            self._drawn[probe.key] = draw(self.specs, probe)
        return dict(self._drawn[probe.key])

    def arguments(self, arrays: Mapping[str, Array]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Args and kwargs of forward."""
        tensors = {s.name: _tensor(arrays[s.name], s.dtype) for s in self.specs}
        if not self.keywords:
            return tuple(tensors.values()), {}
        return (), dict(zip(self.keywords, tensors.values(), strict=True))

    def example(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What the exporter traces with: the traced sizes, with values that no probe has."""
        return self.arguments(
            draw(self.specs, Probe(family=base_family(self.specs), seed=0, sizes=self.probes[0].sizes))
        )


def choose_inputs(spec: ExportSpec, model: nn.Module) -> Inputs:
    """Choose names, dtypes and sizes, and plan the probes.

    Raises:
        SpecError: names, shapes and sample contradict each other.
        InputsError: nothing says what the inputs are, or the module refuses them.
    """
    sample = read_sample(spec.sample) if spec.sample else None
    declared, keywords = _in_forward_order(spec.inputs or default_inputs(spec, model, sample), model, spec.input_names)
    specs = _with_sizes(declared, sample)
    chosen = Inputs(specs, keywords, (Probe(family="zeros", seed=0, sizes=_traced(specs)),))
    sizes, refused = _sizes_to_prove(model, chosen)
    if sample is not None:
        sample = _checked_sample(sample, specs)
    probes = plan_probes(specs, sizes, has_sample=sample is not None)
    return Inputs(specs, keywords, probes, refused, sample)


def default_inputs(spec: ExportSpec, model: nn.Module, sample: Mapping[str, Array] | None) -> tuple[InputSpec, ...]:
    """Inputs from the sample, else from torchvision's own preprocessing.

    Raises:
        InputsError: neither says them.
    """
    if sample:
        return tuple(_from_array(name, array) for name, array in sample.items())
    size = _torchvision_size(spec.model, model)
    names = [*forward_parameters(model)] or ["input"]
    if size is None:
        shown = " ".join(f"--input {name}=float32[batch,…]" for name in names)
        raise InputsError(
            f"Nothing says what {type(model).__name__}.forward({', '.join(names)}) takes; declare it with {shown} "
            f"({INPUT_SYNTAX}), or give real inputs with --sample FILE.npz."
        )
    return (InputSpec.parse(f"{names[0]}=float32[batch,3,{size},{size}]"),)


def _torchvision_size(name: Any, model: nn.Module) -> int | None:
    """Height and width in pixels: what the built model fixes, else the crop of its DEFAULT weights."""
    if not isinstance(name, str) or ":" in name:
        return None
    fixed = getattr(model, "image_size", None)
    if isinstance(fixed, int):
        return fixed
    from torchvision import models

    preprocess: Any = models.get_model_weights(name)["DEFAULT"].transforms()
    for attribute in ("crop_size", "resize_size"):
        value = getattr(preprocess, attribute, None)
        if isinstance(value, list) and len(value) == 1 and not hasattr(preprocess, "min_temporal_size"):
            return int(value[0])
    return None


def forward_parameters(model: nn.Module) -> list[str]:
    """Names of forward's parameters, in order."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [name for name, p in inspect.signature(model.forward).parameters.items() if p.kind in kinds]


def _in_forward_order(
    specs: tuple[InputSpec, ...], model: nn.Module, names: tuple[str, ...]
) -> tuple[tuple[InputSpec, ...], tuple[str, ...]]:
    """The inputs under their names in the file, and forward's keywords for them; none: pass them by position.

    Keyword inputs come in forward's order, in which exporters put them, too.
    """
    parameters = forward_parameters(model)
    renamed = _renamed(specs, names) if names else specs
    if not all(spec.name in parameters for spec in specs):
        return renamed, ()
    order = sorted(range(len(specs)), key=lambda index: parameters.index(specs[index].name))
    return tuple(renamed[index] for index in order), tuple(specs[index].name for index in order)


def _renamed(specs: tuple[InputSpec, ...], names: tuple[str, ...]) -> tuple[InputSpec, ...]:
    if len(names) < len(specs):
        raise SpecError(
            f"{len(specs)} inputs need as many input_names, not {len(names)}; further ones label parameters."
        )
    return tuple(s.model_copy(update={"name": name}) for s, name in zip(specs, names, strict=False))


def _with_sizes(specs: tuple[InputSpec, ...], sample: Mapping[str, Array] | None) -> tuple[InputSpec, ...]:
    """Give every dynamic dimension one size to trace at, the same wherever its name stands."""
    chosen: dict[str, Dim] = {}
    batch = batch_name(specs)
    for spec in specs:
        for dim in spec.dims:
            if dim.name is not None:
                old = chosen.get(dim.name, dim)
                size = dim.size or old.size
                if old.size and dim.size and old.size != dim.size:
                    raise SpecError(f"The dimension {dim.name} has two sizes, {old.size} and {dim.size}; give one.")
                high = min((h for h in (old.high, dim.high) if h is not None), default=None)
                # as a Dim checks itself, bounds that exclude each other or the size are refused here
                chosen[dim.name] = Dim(name=dim.name, size=size, low=max(old.low, dim.low), high=high)
    for name, dim in chosen.items():
        size = dim.size or (BATCH_SIZES[0] if name == batch else _size_in_sample(name, specs, sample))
        if size is None:
            raise SpecError(f"The dimension {name} needs a size to trace at; write {name}=SIZE, e.g. {name}=16.")
        size = min(max(size, 2, dim.low), dim.high or max(size, 2, dim.low))
        chosen[name] = dim.model_copy(update={"size": size})
    return tuple(s.model_copy(update={"dims": tuple(chosen[d.name] if d.name else d for d in s.dims)}) for s in specs)


def _size_in_sample(name: str, specs: tuple[InputSpec, ...], sample: Mapping[str, Array] | None) -> int | None:
    for spec in specs:
        for axis, dim in enumerate(spec.dims):
            array = (sample or {}).get(spec.name)
            if dim.name == name and array is not None and axis < array.ndim:
                return int(array.shape[axis])
    return None


def _traced(specs: tuple[InputSpec, ...]) -> dict[str, int]:
    return {name: dim.size or 0 for name, dim in dynamic_dims(specs).items()}


def _sizes_to_prove(model: nn.Module, inputs: Inputs) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]]:
    """Sizes of each dynamic dimension, the traced one first, and those that the module itself refuses.

    Raises:
        InputsError: the module does not run at the traced sizes.
    """
    traced = _traced(inputs.specs)
    if error := _refusal(model, inputs, traced):
        shown = ", ".join(map(str, inputs.specs))
        raise InputsError(f"{type(model).__name__} does not run on {shown}: {error}.")
    sizes: dict[str, tuple[int, ...]] = {}
    refused: dict[str, tuple[int, ...]] = {}
    for name, dim in dynamic_dims(inputs.specs).items():
        size = traced[name]
        kept: list[int] = []
        no: list[int] = []
        for candidates in _candidates(dim, size, is_batch=name == batch_name(inputs.specs)):
            for candidate in candidates:
                if candidate in (size, *kept, *no) or not max(dim.low, 1) <= candidate <= (dim.high or candidate):
                    continue
                is_safe = candidates == [max(BATCH_SIZES)] and len(kept) > 1  # saves the largest run
                if not is_safe and _refusal(model, inputs, {**traced, name: candidate}):
                    no.append(candidate)
                    continue
                kept.append(candidate)
                break
        sizes[name], refused[name] = (size, *kept), tuple(no)
    return sizes, {name: no for name, no in refused.items() if no}


def _candidates(dim: Dim, size: int, *, is_batch: bool) -> list[list[int]]:
    """Lists of sizes to prove beside the traced one; of each list the first that the module takes."""
    near = [size + 1, size - 1, size + 8, size + 16, size + 32, size * 2]
    far = [size // 2 + (size // 2) % 2, size * 2, size + 64, size + 2]
    if is_batch and (batches := [[s] for s in BATCH_SIZES if s != size and dim.low <= s <= (dim.high or s)]):
        return batches
    smallest = [[1], [2]] if size <= LARGE_SIZE else []
    bounds = [[dim.low]] if dim.low > 2 else []
    bounds += [[dim.high]] if dim.high is not None and dim.high <= MAX_GROWTH * size else []
    return [near, far, *smallest, *bounds]


def _refusal(model: nn.Module, inputs: Inputs, sizes: dict[str, int]) -> str:
    """What the module says to these sizes; empty where it runs."""
    probe = Probe(family=base_family(inputs.specs), seed=0, sizes=sizes)
    args, kwargs = inputs.arguments(draw(inputs.specs, probe))
    try:
        run_float32(model, args, kwargs)
    except Exception as error:  # the user's forward may raise anything; it becomes one sentence
        return " ".join(f"{type(error).__name__}: {error}".split())[:300].rstrip(".")
    return ""


def read_sample(path: Path) -> dict[str, Array]:
    """Real inputs by name.

    Raises:
        SpecError: the file is no .npz of plain arrays.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except FileNotFoundError as error:
        raise SpecError(f"There is no sample file {path}; give an .npz with arrays by input name.") from error
    except (ValueError, OSError, AttributeError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise SpecError(f"{path.name} is no .npz of plain arrays ({error}); write it with numpy.savez.") from error


def _from_array(name: str, array: Array) -> InputSpec:
    dtype = str(array.dtype)
    dims = tuple(Dim(name="batch") if axis == 0 else Dim(size=size) for axis, size in enumerate(array.shape))
    needs_range = dtype in INTEGER_DTYPES and array.size
    low, high = (float(array.min()), float(array.max())) if needs_range else (None, None)
    return InputSpec(name=name, dtype=dtype, dims=dims, low=low, high=high)


def _checked_sample(sample: Mapping[str, Array], specs: tuple[InputSpec, ...]) -> dict[str, Array]:
    """The sample's arrays in the dtypes and sizes of the inputs, at most 64 rows.

    Raises:
        SpecError: an array is absent, left over, of another shape, or holds values that are not legal.
    """
    names = [spec.name for spec in specs]
    if set(sample) != set(names):
        raise SpecError(f"The sample holds {', '.join(sorted(sample))}, but the inputs are {', '.join(names)}.")
    batch = batch_name(specs)
    sizes: dict[str, int] = {}
    checked: dict[str, Array] = {}
    for spec in specs:
        array = _first_rows(sample[spec.name], spec, batch)
        fits = array.ndim == len(spec.dims)
        for dim, size in zip(spec.dims, array.shape, strict=False):
            if dim.name is None:
                fits = fits and size == dim.size
            else:
                fits = fits and max(dim.low, 1) <= size <= (dim.high or size)
                fits = fits and size == sizes.setdefault(dim.name, size)
        if not fits:
            known = ", ".join(f"{name}={size}" for name, size in sizes.items())
            raise SpecError(
                f"The sample's {spec.name} has the shape {sample[spec.name].shape}, which is not {spec}"
                f"{f' with {known}' if known else ''}; give arrays of that shape."
            )
        checked[spec.name] = _in_dtype(array, spec)
    return checked


def _first_rows(array: Array, spec: InputSpec, batch: str | None) -> Array:
    """At most 64 rows, or as many as a fixed batch has."""
    rows = spec.dims[0] if spec.dims and array.ndim == len(spec.dims) else None
    if rows is None:
        return array
    if rows.name is None:
        return array[: rows.size]
    return array[: min(MAX_SAMPLE_ROWS, rows.high or MAX_SAMPLE_ROWS)] if rows.name == batch else array


def _in_dtype(array: Array, spec: InputSpec) -> Array:
    if array.dtype.kind not in "biuf":
        raise SpecError(f"The sample's {spec.name} holds {array.dtype}, not numbers; write it as {spec.dtype}.")
    if spec.value_range and array.size:
        low, high = spec.value_range
        least, most = float(array.min()), float(array.max())
        slack = 1e-6 * max(abs(low), abs(high))  # one rounding of float32
        if not low - slack <= least <= most <= high + slack:  # NaN is refused, too
            raise SpecError(
                f"The sample's {spec.name} holds values from {least:g} to {most:g}, outside the range "
                f"{low:g}..{high:g} of {spec}; correct the one or the other."
            )
    cast = array.astype("float32" if spec.dtype == "bfloat16" else spec.dtype)
    if cast.dtype.kind in "biu" and not np.array_equal(cast, array):
        raise SpecError(f"The sample's {spec.name} holds fractions, but the input is {spec.dtype}; round it first.")
    return cast


def _tensor(array: Array, dtype: str) -> torch.Tensor:
    # a copy: a model that writes into its input must not change the probe
    return torch.tensor(array).to(getattr(torch, dtype))
