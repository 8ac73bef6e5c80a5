"""Choices among values, such as topk's: of equal ones any is right, and of nearly equal ones a rounding decides."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from tasks.core.arrays import Array, eps_of
from tasks.core.forward.operator_mode import OperatorMode
from tasks.core.forward.precision import Args, Kwargs, run_float32

_CHOICES = (
    *("aten.topk.default", "aten.sort.default", "aten.sort.stable", "aten.argmax.default", "aten.argmin.default"),
    *("aten.max.dim", "aten.min.dim", "aten.kthvalue.default", "aten.median.dim"),
    *("aten.cummax.default", "aten.cummin.default"),
)
_FIRST = ("aten.argmax.default", "aten.argmin.default")
"""Of these PyTorch and ONNX both promise the first index; among rounded values it is luck which are equal."""
_TIE = 0.25
"""Share of a rounding by which equal values are moved apart: none of them passes the next larger value."""


class NotedChoices(OperatorMode):
    """Notes what every operator chose from, what it chose, and along which axis, -1 for all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[torch.Tensor, torch.Tensor, int]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: PLR0917
        if str(func) not in _CHOICES or not args[0].dim() or not args[0].numel():
            return self.call(func, args, kwargs)
        if str(func) in _FIRST and not args[0].dtype.is_floating_point:
            return self.call(func, args, kwargs)
        dim = _dim_of(func, args, kwargs or {})
        answer = self._choose(func, args, kwargs or {}, dim=dim)
        indices = answer if isinstance(answer, torch.Tensor) else answer[1]
        self.seen.append((args[0].detach().clone(), indices, -1 if dim is None else dim % args[0].dim()))
        return answer

    def _choose(self, func: Any, args: Any, kwargs: Any, *, dim: int | None) -> Any:
        del dim
        return func(*args, **kwargs)


class OtherChoices(NotedChoices):
    """Lets each choice fall otherwise where the values are equal but for their noise."""

    def __init__(self, margins: Sequence[Array], seed: int) -> None:
        """Move the values apart by up to `margins`, one a choice; seeds 2n and 2n + 1 in opposite directions."""
        super().__init__()
        self._margins, self._seed = margins, seed

    def _choose(self, func: Any, args: Any, kwargs: Any, *, dim: int | None) -> Any:
        values = args[0]
        generator = torch.Generator().manual_seed(1000 * (self._seed // 2) + len(self.seen))
        shake = (torch.rand(values.shape, generator=generator, dtype=torch.float64) * 2 - 1) * (-1) ** self._seed
        keys = values.double()
        if values.dtype.is_floating_point:
            known = self._margins[len(self.seen)] if len(self.seen) < len(self._margins) else np.zeros(())
            margin = torch.from_numpy(known) if known.shape == tuple(values.shape) else 0.0
            least = torch.finfo(values.dtype).tiny
            keys += shake * (margin + _TIE * eps_of(values.dtype) * values.double().abs().clamp_min(least))
        else:
            keys += shake * _TIE
        answer = func(keys, *args[1:], **kwargs)
        if isinstance(answer, torch.Tensor):
            return answer
        _, indices = answer
        assert dim is not None
        if indices.dim() == values.dim():
            return values.gather(dim, indices), indices
        return values.gather(dim, indices.unsqueeze(dim)).squeeze(dim), indices


def run_noted(model: nn.Module, args: Args, kwargs: Kwargs, *, how: Any = run_float32, choices: NotedChoices) -> Any:
    """Call a module while its choices are noted.

    Args:
        model: any module.
        args: of forward.
        kwargs: of forward.
        how: it is called.
        choices: gets what was chosen.
    """
    with choices:
        return how(model, args, kwargs)


def _dim_of(func: Any, args: Any, kwargs: Any) -> int | None:
    """Along which dim an operator chooses; None: among all elements."""
    for index, argument in enumerate(func._schema.arguments):
        if argument.name == "dim":
            dim: int | None = args[index] if index < len(args) else kwargs.get("dim", argument.default_value)
            return dim
    return None
