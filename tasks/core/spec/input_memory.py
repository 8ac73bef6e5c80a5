"""Memory that declared inputs take, counted before any is made."""

from collections.abc import Iterable
from math import prod

from tasks.core.allowance import check_memory
from tasks.core.spec.input_spec import InputSpec

_ITEM_BYTES = {"float64": 8, "int64": 8, "float32": 4, "int32": 4, "float16": 2, "bfloat16": 2, "int16": 2}
"""By dtype; others take one."""


def check_input_memory(specs: Iterable[InputSpec]) -> None:
    """Refuse inputs that take more memory than is allowed, at their sizes or, where these are not chosen, the least.

    Raises:
        SpecError: they take more.
    """
    sizes = {spec: prod(dim.size or max(dim.low, 1) for dim in spec.dims) for spec in specs}
    found = {spec: size * _ITEM_BYTES.get(spec.dtype, 1) for spec, size in sizes.items()}
    if found:
        largest = max(found, key=lambda spec: found[spec])
        subject = f"The input {largest} takes" if len(found) == 1 else f"The inputs, {largest} the largest, take"
        check_memory(sum(found.values()), subject, way_out="declare smaller sizes")
