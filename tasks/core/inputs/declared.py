"""The inputs that were declared, or that follow from a sample or from the family of the model."""

from collections.abc import Mapping

from torch import nn

from tasks.core.arrays import Array
from tasks.core.errors import InputsError
from tasks.core.families.registry import family_of
from tasks.core.forward.arguments import forward_parameters
from tasks.core.spec.export_spec import ResolvedSpec
from tasks.core.spec.input_spec import INPUT_SYNTAX, INTEGER_DTYPES, Dim, InputSpec


def declared_inputs(spec: ResolvedSpec, model: nn.Module, sample: Mapping[str, Array] | None) -> tuple[InputSpec, ...]:
    """The spec's inputs, else those of the sample, else the family's; dims without a size have the family's usual one.

    Args:
        spec: what is exported.
        model: its module.
        sample: real inputs, arrays by input name; None: there are none.

    Raises:
        InputsError: nothing says what the inputs are.
    """
    if not spec.inputs:
        return _default_inputs(spec, model, sample)
    sizes = family_of(spec.model).usual_sizes(spec.model, model)
    return tuple(
        item.model_copy(
            update={
                "dims": tuple(
                    dim.model_copy(update={"size": sizes[dim.name]}) if dim.size is None and dim.name in sizes else dim
                    for dim in item.dims
                )
            }
        )
        for item in spec.inputs
    )


def _default_inputs(spec: ResolvedSpec, model: nn.Module, sample: Mapping[str, Array] | None) -> tuple[InputSpec, ...]:
    """Inputs as the sample has them, else as the family of the model says."""
    if sample:
        return tuple(_input_of(name, array) for name, array in sample.items())
    names = [*forward_parameters(model)] or ["input"]
    texts = family_of(spec.model).default_inputs(spec.model, model, names)
    if not texts:
        shown = " ".join(f"--input {name}=float32[batch,…]" for name in names)
        raise InputsError(
            f"Nothing says what {type(model).__name__}.forward({', '.join(names)}) takes; declare it with {shown} "
            f"({INPUT_SYNTAX}), or give real inputs with --sample FILE.npz."
        )
    return tuple(map(InputSpec.parse, texts))


def _input_of(name: str, array: Array) -> InputSpec:
    """Declare an input as an array has it, the first dimension as a dynamic batch."""
    dtype = str(array.dtype)
    dims = tuple(Dim(name="batch") if axis == 0 else Dim(size=size) for axis, size in enumerate(array.shape))
    needs_range = dtype in INTEGER_DTYPES and array.size
    low, high = (float(array.min()), float(array.max())) if needs_range else (None, None)
    return InputSpec(name=name, dtype=dtype, dims=dims, low=low, high=high)
