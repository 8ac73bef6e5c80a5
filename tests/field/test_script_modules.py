"""Modules in TorchScript, whole or in part: their control flow stays, and their names are used."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from tasks.core.model.borrowing import borrowed
from tasks.core.model.building import build_with_weights
from tasks.core.records.steps import Weights
from tasks.core.spec.export_spec import ExportSpec
from tasks.core.spec.resolve import resolve
from tests.core.proof.proving import exported, weight

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
X = ("x=float32[batch,6]",)
Build = Callable[[], nn.Module]


class Net(nn.Module):
    """Two layers."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Three of a row."""
        return self.b(torch.relu(self.a(x)))  # type: ignore[no-any-return]


class Loop(Net):
    """Has a loop, and a branch on values that ordinary ones take both sides of."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The columns added, halved where one is large."""
        y = self.b(torch.relu(self.a(x)))
        for i in range(x.size(1) // 2):
            y = y + x[:, i : i + 1]
        if float(x.max()) > 2.0:
            y = y / 2
        return y


class Far(Net):
    """Has a branch that ordinary values do not take."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Halved where a value is very large."""
        y = self.b(torch.relu(self.a(x)))
        if float(x.max()) > 1000.0:
            y = y / 2
        return y


class Named(Net):
    """Returns a dict."""

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Logits before what they are made of."""
        hidden = torch.relu(self.a(x))
        return {"logits": self.b(hidden), "hidden": hidden}


class Masked(Net):
    """Takes two inputs."""

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The mask is for the hidden layer."""
        return self.b(torch.relu(self.a(x)) * mask)  # type: ignore[no-any-return]


class Listed(Net):
    """Takes a list."""

    def forward(self, xs: list[torch.Tensor]) -> torch.Tensor:
        """The sum of the second one is added."""
        return self.b(torch.relu(self.a(xs[0]))) + xs[1].sum()  # type: ignore[no-any-return]


class FrozenInside(nn.Module):
    """Ordinary code around TorchScript, that branches on its last input."""

    def __init__(self) -> None:
        super().__init__()
        self.net = torch.jit.script(Net())

    def forward(self, x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """Negative for a large bias."""
        return self.net(x) + bias if float(bias.sum()) < 1e9 else -self.net(x)  # type: ignore[no-any-return]


def traced(module: nn.Module) -> nn.Module:
    """Traced at one size."""
    return torch.jit.trace(module.eval(), torch.ones(2, 6))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "build",
    [
        lambda: torch.jit.script(Net()),
        lambda: torch.jit.script(Loop()),
        lambda: traced(Net()),
        lambda: nn.Sequential(torch.jit.script(Loop()), nn.Tanh()),
        lambda: nn.Sequential(traced(Net()), nn.Tanh()),
    ],
    ids=["scripted", "control flow", "traced", "scripted part", "traced part"],
)
def test_a_module_in_torchscript_is_proven(build: Build, tmp_path: Path) -> None:
    """As a whole and in part; a wrong weight is seen, and the names are the module's."""
    model = build()
    file = exported(model, X, tmp_path, exporter="torchscript")
    evidence = file.prove()
    assert evidence.verdict == "pass", evidence.reasons
    names = {tensor.name for tensor in onnx.load(file.graph.path).graph.initializer}
    names &= dict(model.named_parameters()).keys()
    assert {name.rpartition(".")[2] for name in names} >= {"bias"}
    bias = next(name for name in sorted(names) if name.endswith("a.bias"))
    assert file.prove(mutate=weight(bias, lambda values: values * np.float32(1.01))).verdict == "fail"


def test_a_frozen_module_passes(tmp_path: Path) -> None:
    """By `torch.jit.freeze`: its weights are constants of its code, it has no mode, and keeps having none."""
    module = torch.jit.freeze(torch.jit.script(Loop().eval()))
    spec = ExportSpec(model=module, name="frozen", inputs=X, weights="as-built")
    with borrowed(spec):
        model, _ = build_with_weights(resolve(spec), Weights(kind="as-built", origin="as-built"))
        evidence = exported(model, X, tmp_path).prove()
    assert evidence.verdict == "pass", evidence.reasons
    assert not hasattr(module, "training")


def test_a_branch_in_torchscript_that_no_probe_takes_is_a_doubt(tmp_path: Path) -> None:
    """The file has both sides, of which one was not compared."""
    evidence = exported(torch.jit.script(Far()), X, tmp_path, exporter="torchscript").prove()
    assert evidence.verdict == "inconclusive"
    assert "no probe took the then side of the file's branch" in evidence.reasons[0]


def test_a_branch_around_torchscript_that_tracing_froze_is_a_doubt(tmp_path: Path) -> None:
    """The tracer's graph has the module itself before the inputs, of which the last one counts, too."""
    evidence = exported(FrozenInside(), (*X, "bias=float32[batch,3]"), tmp_path, exporter="torchscript").prove()
    assert evidence.verdict == "inconclusive"
    assert "branches on values at test_script_modules.py" in evidence.reasons[0]


@pytest.mark.parametrize(
    ("model", "inputs", "outputs"),
    [
        (Named(), X, ["logits", "hidden"]),
        (Masked(), ("mask=float32[batch,8]", "x=float32[batch,6]"), ["output"]),
        (Listed(), ("xs.0=float32[batch,6]", "xs.1=float32[batch,2]"), ["output"]),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_structures_of_torchscript_keep_their_names(
    model: nn.Module, inputs: tuple[str, ...], outputs: list[str], tmp_path: Path
) -> None:
    """Inputs go where the schema of forward has their names, in any order; outputs are called as in a dict."""
    file = exported(torch.jit.script(model), inputs, tmp_path)
    assert file.graph.exporter == "torchscript"
    assert [output.name for output in file.graph.outputs] == outputs
    evidence = file.prove()
    assert evidence.verdict == "pass", evidence.reasons
