"""Reductions, norms, losses and scans in another order of addition than PyTorch's.

PyTorch's own decompositions lower whatever adds up to two primitive operators, a sum and a variance. Only these two
and scans are computed here; a new norm or reduction needs no line of its own.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch._decomp import decomposition_table
from torch.utils._pytree import tree_leaves

_LONG_SUM = 32
"""Number of terms from which the order of a sum may have a visible effect: equal ones are off by up to 8 roundings."""
_SCANS = {"aten::cumsum": np.add, "aten::cumprod": np.multiply}
"""Operators that PyTorch computes with float64 inside, and what each step of them does."""


class Order(NamedTuple):
    """How an implementation adds up."""

    num_lanes: int
    """Number of partial sums, which take the terms in turn."""
    is_one_pass: bool = False
    """A variance is the mean of the squares less the square of the mean."""


class Orders(NamedTuple):
    """How an implementation adds up in plain sums and in norms, its own kernels."""

    sums: Order
    norms: Order

    @classmethod
    def of(cls, seed: int) -> "Orders":
        """Those that a seed chooses from ONNX Runtime's."""
        return cls(_SUMS[seed % len(_SUMS)], _NORMS[seed % len(_NORMS)])


_SUMS = (Order(4), Order(1))
"""Over inner axes vector units, over outer ones one term after another."""
_NORMS = (Order(4), Order(8), Order(8, is_one_pass=True))
"""Vector units. One pass is ONNX's own definition of group norm, off by 2e-3 on a map that is equal by 1e-3; it comes
last, when a file is to be called wrong."""


class Lowering(NamedTuple):
    """What PyTorch makes of an operator that adds up."""

    decomposition: Callable[..., Any]
    is_norm: bool


@functools.cache
def lowering_of(func: Any) -> Lowering | None:
    """What PyTorch lowers a reduction, a norm or a loss to; None for other operators.

    Reductions have a tag, a norm takes an eps, a loss a kind of reduction.
    """
    if not isinstance(func, torch._ops.OpOverload):
        return None
    arguments = {argument.name for argument in func._schema.arguments}
    is_norm = "eps" in arguments
    adds_up = is_norm or "reduction" in arguments or torch.Tag.reduction in func.tags
    decomposition = decomposition_table.get(func) if adds_up and not func._schema.is_mutable else None
    return decomposition and Lowering(decomposition, is_norm)


def is_long(x: Any, answer: Any) -> bool:
    """Are many terms behind each element of an operator's smallest result?

    Args:
        x: the first argument of the operator.
        answer: its result, or several of them, such as a norm with its means.
    """
    sizes = [value.numel() for value in tree_leaves(answer) if isinstance(value, torch.Tensor) and value.numel()]
    return bool(sizes) and _may_differ(x) and x.numel() >= _LONG_SUM * min(sizes)


def in_order(func: Any, args: tuple[Any, ...], order: Order) -> torch.Tensor | None:
    """A scan, a primitive sum or a primitive variance in an order of addition; None for other operators.

    Args:
        func: the operator.
        args: its arguments; a scan in place changes the first of them.
        order: to add up in.
    """
    prims = torch.ops.prims
    if not isinstance(func, torch._ops.OpOverload) or not args or not _may_differ(args[0]):
        return None
    name = func._schema.name
    if ufunc := _SCANS.get(name):
        return _scanned(ufunc, *args)
    if ufunc := _SCANS.get(name.removesuffix("_")):
        return args[0].copy_(_scanned(ufunc, *args))  # type: ignore[no-any-return]
    if func is prims.sum.default and _num_terms(*args) >= _LONG_SUM:
        return _sum(*args, order=order)
    if func is prims.var.default and _num_terms(*args[:2]) >= _LONG_SUM:
        return _variance(*args, order=order)
    return None


def _may_differ(x: Any) -> bool:
    """Half precision is added up in float32, and rounded more than the order matters."""
    is_plain = isinstance(x, torch.Tensor) and x.layout == torch.strided
    return is_plain and x.dtype in (torch.float32, torch.float64)


def _scanned(ufunc: np.ufunc, x: torch.Tensor, dim: int) -> torch.Tensor:
    return torch.from_numpy(ufunc.accumulate(x.detach().numpy(), axis=dim)) if x.dim() else x.clone()


def _num_terms(x: torch.Tensor, dims: list[int]) -> int:
    return math.prod(x.shape[dim] for dim in dims) if x.numel() else 0


def _sum(x: torch.Tensor, dims: list[int], *, order: Order) -> torch.Tensor:
    """Sum in lanes, each added up one term after another, as vector units do."""
    kept = [dim for dim in range(x.dim()) if dim not in dims]
    shape = [x.shape[dim] for dim in kept]
    terms = x.detach().permute(*kept, *sorted(dims)).reshape(*shape, -1).numpy()
    num_whole = terms.shape[-1] // order.num_lanes * order.num_lanes
    lanes = terms[..., :num_whole].reshape(*shape, -1, order.num_lanes)
    if order.num_lanes == 1:  # numpy reduces an axis without lanes in pairs, but accumulates in order
        total = np.add.accumulate(lanes, axis=-2)[..., -1, 0]
    else:
        total = np.add.reduce(lanes, axis=-2).sum(axis=-1) + terms[..., num_whole:].sum(axis=-1)
    return torch.from_numpy(np.array(total))  # a copy: of an accumulated axis only the end


def _variance(x: torch.Tensor, dims: list[int], correction: float, *, order: Order) -> torch.Tensor:
    num_terms = _num_terms(x, dims)
    mean = _sum(x, dims, order=order) / num_terms
    if order.is_one_pass:
        squares = (_sum(x.square(), dims, order=order) / num_terms - mean.square()).clamp_min(0) * num_terms
    else:
        shape = [1 if dim in dims else size for dim, size in enumerate(x.shape)]
        squares = _sum((x - mean.reshape(shape)).square(), dims, order=order)
    return squares / (num_terms - correction)
