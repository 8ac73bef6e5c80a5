"""Sixteen tiny models, and three that kill or stop the process that exports them: what a sweep meets."""

import ctypes
import os
import signal
import time

import torch
from torch import nn


class Net(nn.Module):
    """Two layers; the size of the hidden one makes it a model of its own."""

    def __init__(self, num_hidden: int = 8) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, num_hidden), nn.ReLU(), nn.Linear(num_hidden, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Score a row of six numbers."""
        scores: torch.Tensor = self.layers(x)
        return scores


def _sized(num_hidden: int) -> type[Net]:
    class Sized(Net):
        def __init__(self) -> None:
            super().__init__(num_hidden)

    return Sized


for _number in range(16):
    globals()[f"Net{_number}"] = _sized(8 + _number)


def _is_exported() -> bool:
    return torch.jit.is_tracing() or torch.compiler.is_exporting()


class Segfault(Net):
    """Reads address 0 while it is exported."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Crash in an exporter, else score."""
        if _is_exported():
            ctypes.string_at(0)
        return super().forward(x)


class Killed(Net):
    """Gets SIGKILL while it is exported, as from the kernel when memory runs out."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Die in an exporter, else score."""
        if _is_exported():
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(x)


class Hang(Net):
    """Never comes back from its export."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Wait in an exporter, else score."""
        while _is_exported():
            time.sleep(1)
        return super().forward(x)


class Slow(Net):
    """Takes a while to be exported, so that somebody can come in between."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Wait some seconds in an exporter, tell that it is there, then score."""
        if _is_exported():
            if flag := os.environ.get("SLOW_MODEL_FLAG"):
                with open(flag, "a") as file:  # noqa: PTH123  # traced by dynamo, too
                    file.write(f"{os.getpid()}\n")
            time.sleep(float(os.environ.get("SLOW_MODEL_SECONDS", "0")))
        return super().forward(x)
