"""Models whose code does what no model should: to the process, to PyTorch, to standard output."""

import os
import sys

import torch
from many_models import Net


class Patches(Net):
    """Changes a function of PyTorch for everybody who comes after it, and the default dtype."""

    def __init__(self) -> None:
        super().__init__()
        plain = torch.relu
        torch.relu = lambda x: plain(x) * 1.01  # type: ignore[assignment]
        torch.set_default_dtype(torch.float64)
        self.float()


class Relu(Net):
    """Calls the function that `Patches` changes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Score what is positive."""
        return super().forward(torch.relu(x))


class Exits(Net):
    """Ends the interpreter."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Leave."""
        sys.exit(0)


class Leaves(Net):
    """Ends the process as though all were well."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Leave."""
        os._exit(0)


class Interrupts(Net):
    """Raises what Ctrl-C raises."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Interrupt."""
        raise KeyboardInterrupt


class Prints(Net):
    """Prints what it does."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Talk, then score."""
        print("forward!")
        return super().forward(x)
