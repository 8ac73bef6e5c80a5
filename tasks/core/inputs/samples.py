"""What is said of the inputs: real ones in a file, declared ones, else those of sample, family or module."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn

from tasks.core.arrays import Array
from tasks.core.errors import InputsError, SpecError, one_line
from tasks.core.families.registry import family_of
from tasks.core.forward.arguments import forward_parameters
from tasks.core.inputs.probes import MAX_SAMPLE_ROWS, all_sizes, batch_name, dynamic_dims, is_batch_apart, padded
from tasks.core.spec.export_spec import ResolvedSpec
from tasks.core.spec.input_spec import INTEGER_DTYPES, Dim, InputSpec, Side
from tasks.core.syntax import INPUT_SYNTAX
from tasks.core.weights.unpacking import check_archive


def read_sample(path: Path) -> dict[str, Array]:
    """Read real inputs by name; a SpecError where the file is no .npz of plain arrays."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            check_archive(path, arrays.zip, way_out="write it with numpy.savez, uncompressed", error=SpecError)
            found = {name: arrays[name] for name in arrays.files}
    except FileNotFoundError as error:
        raise SpecError(f"There is no sample file {path}; give an .npz with arrays by input name.") from error
    except SpecError:
        raise
    except Exception as error:  # damaged bytes make parsers raise anything; it becomes one sentence
        said = one_line(error) or type(error).__name__
        raise SpecError(f"{path.name} is no .npz of plain arrays ({said}); write it with numpy.savez.") from error
    if other := next((name for name, value in found.items() if not isinstance(value, np.ndarray)), None):
        raise SpecError(f"{path.name} holds {other}, which is no array; write it with numpy.savez.")
    return found


def declared_inputs(spec: ResolvedSpec, model: nn.Module, sample: Mapping[str, Array] | None) -> tuple[InputSpec, ...]:
    """The spec's inputs, else the sample's, the family's, the module's own; an InputsError where nothing says them.

    Dims without a size have the family's usual one.

    Args:
        spec: what is exported.
        model: its module.
        sample: real inputs, arrays by input name; None: there are none.
    """
    if not spec.inputs:
        return _default_inputs(spec, model, sample)
    sizes = family_of(spec.model).usual_sizes(spec.model, model)
    specs = []
    for item in spec.inputs:
        dims = [dim.model_copy(update={"size": dim.size or sizes.get(dim.name or "")}) for dim in item.dims]
        specs.append(item.model_copy(update={"dims": tuple(dims)}))
    return tuple(specs)


def _default_inputs(spec: ResolvedSpec, model: nn.Module, sample: Mapping[str, Array] | None) -> tuple[InputSpec, ...]:
    """Inputs as the sample has them, else as the family of the model says, else as the module's own example has."""
    if sample:
        return tuple(_input_of(name, array) for name, array in sample.items())
    names = [*forward_parameters(model)] or ["input"]
    texts = family_of(spec.model).default_inputs(spec.model, model, names)
    if not texts and (example := _own_example(model, names)):
        return tuple(_input_of(name, array) for name, array in example.items())
    if not texts:
        shown = " ".join(f"--input {name}=float32[batch,…]" for name in names)
        raise InputsError(
            f"Nothing says what {type(model).__name__}.forward({', '.join(names)}) takes; declare it with {shown} "
            f"({INPUT_SYNTAX}), or give real inputs with --sample FILE.npz."
        )
    return tuple(map(InputSpec.parse, texts))


def _own_example(model: nn.Module, names: list[str]) -> dict[str, Array]:
    """Tensors that the module holds as an example, by parameter; empty: it has none.

    Source:
        `example_input_array` of Lightning: a tensor, a tuple of them, or a dict by name.
    """
    given = getattr(model, "example_input_array", None)
    listed = given if isinstance(given, tuple | list) else (given,)
    named = given if isinstance(given, Mapping) else dict(zip(names, listed, strict=False))
    if not all(isinstance(value, torch.Tensor) and value.dtype != torch.bfloat16 for value in named.values()):
        return {}
    return {str(name): np.asarray(tensor.detach().cpu()) for name, tensor in named.items()}


def _input_of(name: str, array: Array) -> InputSpec:
    """Declare an input as an array has it, the first dimension as a dynamic batch."""
    dtype = str(array.dtype)
    dims = tuple(Dim(name="batch") if axis == 0 else Dim(size=size) for axis, size in enumerate(array.shape))
    needs_range = dtype in INTEGER_DTYPES and array.size
    low, high = (float(array.min()), float(array.max())) if needs_range else (None, None)
    return InputSpec(name=name, dtype=dtype, dims=dims, low=low, high=high)


def checked_sample(sample: Mapping[str, Array], specs: tuple[InputSpec, ...]) -> dict[str, Array]:
    """Convert the sample's arrays to the dtypes of the inputs, at most 64 rows; a SpecError says what is not legal.

    Args:
        sample: arrays by input name.
        specs: the inputs, sizes chosen.
    """
    names = [spec.name for spec in specs]
    if set(sample) != set(names):
        raise SpecError(f"The sample holds {', '.join(sorted(sample))}, but the inputs are {', '.join(names)}.")
    batch = batch_name(specs) if is_batch_apart(specs) else None
    arrays = {spec.name: _first_rows(sample[spec.name], spec, batch) for spec in specs}
    sizes: dict[str, int] = {}
    for spec in specs:
        for dim, size in zip(spec.dims, arrays[spec.name].shape, strict=False):
            if dim.name is not None and not dim.formula:
                sizes.setdefault(dim.name, size)
    if sizes.keys() == dynamic_dims(specs).keys():
        sizes = all_sizes(specs, sizes)
    checked: dict[str, Array] = {}
    for spec in specs:
        shape = arrays[spec.name].shape
        fits = len(shape) == len(spec.dims) and all(
            size == dim.size if dim.name is None else _is_legal(size, dim) and size == sizes.get(dim.name, size)
            for dim, size in zip(spec.dims, shape, strict=True)
        )
        if not fits:
            known = ", ".join(f"{name}={size}" for name, size in sizes.items())
            raise SpecError(
                f"The sample's {spec.name} has the shape {sample[spec.name].shape}, which is not {spec}"
                f"{f' with {known}' if known else ''}; give arrays of that shape."
            )
        checked[spec.name] = _in_dtype(arrays[spec.name], spec)
    return checked


def _is_legal(size: int, dim: Dim) -> bool:
    return max(dim.low, 1) <= size <= (dim.high or size)


def _first_rows(array: Array, spec: InputSpec, batch: str | None) -> Array:
    """At most 64 rows, or as many as a fixed batch has."""
    rows = spec.dims[0] if spec.dims and array.ndim == len(spec.dims) else None
    if rows is None:
        return array
    if rows.name is None:
        return array[: rows.size]
    return array[: min(MAX_SAMPLE_ROWS, rows.high or MAX_SAMPLE_ROWS)] if rows.name == batch else array


def _is_padded(mask: Array, spec: InputSpec) -> bool:
    """Is each row padded as declared?"""
    rows = mask.reshape(-1, mask.shape[-1])
    sides: tuple[Side, ...] = ("right", "left") if spec.padded == "either" else (spec.padded,)
    return bool(np.any([(rows == padded(rows, side)).all(axis=-1) for side in sides], axis=0).all())


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
    if spec.padded and not _is_padded(array, spec):
        raise SpecError(
            f"The sample's {spec.name} has rows that are not ones, then zeros, as {spec} says; write @0..1 instead."
        )
    cast = array.astype("float32" if spec.dtype == "bfloat16" else spec.dtype)
    if cast.dtype.kind in "biu" and not np.array_equal(cast, array):
        raise SpecError(f"The sample's {spec.name} holds fractions, but the input is {spec.dtype}; round it first.")
    return cast
