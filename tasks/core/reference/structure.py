"""Do the outputs of a file have the number, dtypes and shapes of the module's?"""

from collections.abc import Collection, Sequence

import numpy as np

from tasks.core.arrays import Array


def structural_failure(
    onnx_outputs: Sequence[Array],
    torch32: Sequence[Array],
    names: Sequence[str],
    *,
    sized_by_data: Collection[int] = (),
) -> str:
    """What differs in number, dtype, shape, NaN or Inf; empty where nothing does.

    Args:
        onnx_outputs: the file's answer, in the module's order.
        torch32: the module's answer.
        names: of the outputs.
        sized_by_data: indices of outputs that may have any number of items, which are matched elsewhere.
    """
    if len(onnx_outputs) != len(torch32):
        return f"the file has {len(onnx_outputs)} outputs, the module {len(torch32)}"
    for index, (name, found, wanted) in enumerate(zip(names, onnx_outputs, torch32, strict=True)):
        if found.dtype == object:
            return f"{name} is in the file what NumPy has no dtype for, {wanted.dtype} in PyTorch"
        if found.dtype != wanted.dtype:
            return f"{name} is {found.dtype} in the file, {wanted.dtype} in PyTorch"
        if index in sized_by_data and found.shape[1:] == wanted.shape[1:] and found.ndim == wanted.ndim:
            continue
        if found.shape != wanted.shape:
            return f"{name} has the shape {list(found.shape)} in the file, {list(wanted.shape)} in PyTorch"
        if found.dtype.kind == "f":
            for what, test in (("NaN", np.isnan), ("Inf", np.isinf)):
                if not np.array_equal(test(found), test(wanted)):
                    return (
                        f"{name} has {int(test(found).sum())} {what} in the file, {int(test(wanted).sum())} in PyTorch"
                    )
    return ""
