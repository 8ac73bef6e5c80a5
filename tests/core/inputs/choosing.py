"""Small modules, and their inputs: what the tests of inputs share."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from tasks.core.inputs.choice import choose_inputs
from tasks.core.inputs.inputs import Inputs
from tasks.core.spec.export_spec import ExportSpec
from tasks.core.spec.resolve import resolve


class Echo(nn.Module):
    """Records how it was called."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def forward(self, ids: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """The mean of the input."""
        self.calls.append((ids, mask))
        return ids.float().mean() + (0 if mask is None else mask.float().mean())


class Picky(nn.Module):
    """Raises where a condition on the shape of its input does not hold."""

    def __init__(self, condition: Any) -> None:
        super().__init__()
        self.condition = condition

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Twice the input."""
        if not self.condition(*x.shape):
            raise ValueError(f"no {tuple(x.shape)}")
        return x * 2


def chosen(model: nn.Module, *inputs: str, **fields: Any) -> Inputs:
    """The inputs of a live module."""
    return choose_inputs(resolve(ExportSpec(model=fields.pop("name", model), inputs=inputs, **fields)), model)


def sample_file(folder: Path, **arrays: Any) -> Path:
    """An .npz file."""
    np.savez(folder / "sample.npz", **arrays)
    return folder / "sample.npz"


def sizes_of(inputs: Inputs, dim: str) -> set[int]:
    """Sizes at which a dimension is probed, but for a large one."""
    return {probe.sizes[dim] for probe in inputs.probes if dim in probe.sizes and probe.family != "large"}


ANY = nn.Identity()
