"""Thresholds by which a module decides how many items it returns: of scores, and of overlaps."""

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_COMPARISONS = ("aten.gt.Scalar", "aten.ge.Scalar", "aten.lt.Scalar", "aten.le.Scalar")


class Thresholds(TorchDispatchMode):
    """A mode that notes thresholds, and whether an operator had an output whose shape depends on values."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's own
        self.scores: set[float] = set()
        """Numbers that floating-point tensors were compared with."""
        self.overlaps: set[float] = set()
        """Limits of intersection over union in non-maximum suppression."""
        self.sizes_by_data = False
        """Did the shape of some operator's output depend on values?"""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: PLR0917
        kwargs = kwargs or {}
        name = str(func)
        if name in _COMPARISONS and args[0].is_floating_point():
            self.scores.add(float(args[1]))
        if "nms" in name:
            self.overlaps.update(v for v in tree_leaves((args, kwargs)) if isinstance(v, float))
        self.sizes_by_data |= "nms" in name or _is_sized_by_data(func, args)
        return func(*args, **kwargs)


def _is_sized_by_data(func: Any, args: Any) -> bool:
    if torch.Tag.dynamic_output_shape not in func.tags:
        return False
    if not str(func).startswith("aten.index."):
        return True
    masks = (torch.bool, torch.uint8)  # numbers as indices give a shape of their own
    return any(isinstance(index, torch.Tensor) and index.dtype in masks for index in args[1])
