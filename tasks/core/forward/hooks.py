"""Which parts of a module call hooks."""

from collections.abc import Iterator

import torch
from torch import nn


def hookable_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The module and its parts that call hooks, each with its path: TorchScript calls none."""
    for path, module in model.named_modules():
        if not isinstance(module, torch.jit.ScriptModule):
            yield path, module
