"""A module whose first call overwrites what was loaded is doubted, and keeps what was loaded."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tasks.core.errors import ExportError
from tasks.core.inputs.choice import choose_inputs
from tasks.core.spec.export_spec import ExportSpec
from tasks.core.spec.resolve import resolve
from tests.core.proof.proving import exported, prove

FEATURES = ("x=float32[batch,6]",)


class _Trained(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(6, 6)
        self.is_ready = False


class ActNorm(_Trained):
    """Takes scale and shift of its first input; a plain flag says whether this was done."""

    def __init__(self) -> None:
        super().__init__()
        self.shift, self.log_scale = (nn.Parameter(torch.randn(6)) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise."""
        y = self.layer(x)
        if not self.is_ready:
            self.shift.data.copy_(-y.detach().mean(0))
            self.log_scale.data.copy_(-y.detach().std(0).log())
            self.is_ready = True
        return (y + self.shift) * self.log_scale.exp()


class Codebook(_Trained):
    """Takes its codes from the first input; the flag is a buffer that the checkpoint lacks."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("codes", torch.randn(2, 6))
        self.register_buffer("initted", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The distance from each code."""
        y = self.layer(x)
        if not self.initted.item():
            self.codes = y.detach()[:2].expand(2, 6).clone()
            self.initted.fill_(1)
        return (y[:, None] - self.codes).square().sum(-1)


class Refused(Codebook):
    """The same, by way of something that no exporter takes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The distance from each code."""
        if not self.initted.item():
            x = x + torch.linalg.eigvals(x[:, :1] @ x[:, :1].T).abs().sum()
        return super().forward(x)


class LazyMean(_Trained):
    """Keeps the mean of its first input in a plain attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.mean: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Centre."""
        if self.mean is None:
            self.mean = x.detach().mean(0)
        return self.layer(x - self.mean)  # type: ignore[no-any-return]


class Memory:
    """An object that is no module."""

    mean: torch.Tensor | None = None


class KeptInside(_Trained):
    """Keeps the mean of its first input in an object in a list in a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = {"layers": [Memory()]}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Centre."""
        memory = self.memory["layers"][0]
        if memory.mean is None:
            memory.mean = x.detach().mean(0)
        return self.layer(x - memory.mean)  # type: ignore[no-any-return]


class Reset(_Trained):
    """Sets a trained buffer to a constant, whatever comes first."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("gain", torch.randn(6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scale."""
        if not self.is_ready:
            self.gain.fill_(1.0)
            self.is_ready = True
        return self.layer(x) * self.gain  # type: ignore[no-any-return]


class BuiltOnCall(_Trained):
    """Makes a layer when it sees its first input."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Two layers."""
        if not self.is_ready:
            self.register_parameter("late", nn.Parameter(x.detach().mean(0)))
            self.is_ready = True
        return self.layer(x) * self.late  # type: ignore[no-any-return]


class Cached(_Trained):
    """Caches what follows from sizes, counts its calls, and keeps its last answer to be looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: dict[int, torch.Tensor] = {}
        self.num_calls = 0
        self.last: Any = None
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("table", torch.zeros(1, 6), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """A layer."""
        if self.table.shape[0] < 4:
            self.table = torch.arange(24.0).reshape(4, 6) / 24
        width = int(x.shape[1])
        self.tables.setdefault(width, torch.arange(width) / 10)
        self.num_calls += 1
        self.calls += 1
        self.last = self.layer(x) + self.tables[width] + self.table[0]
        return self.last  # type: ignore[no-any-return]


CHANGED = {
    ActNorm: "shift", Codebook: "codes", LazyMean: "mean", KeptInside: "memory", Reset: "gain", BuiltOnCall: "is_ready",
}  # fmt: skip


@pytest.mark.parametrize("kind", CHANGED)
def test_what_the_first_call_overwrites_is_named(kind: type[nn.Module]) -> None:
    """The module has afterwards what was loaded."""
    model = kind().eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    attributes = {name: value for name, value in vars(model).items() if not name.startswith("_")}
    inputs = choose_inputs(resolve(ExportSpec(model=model, name="tiny", inputs=FEATURES)), model)
    assert CHANGED[kind] in inputs.overwritten
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert attributes == {name: value for name, value in vars(model).items() if not name.startswith("_")}


@pytest.mark.parametrize("kind", [ActNorm, LazyMean])
def test_it_is_doubted_and_keeps_what_was_loaded(kind: type[nn.Module], tmp_path: Path) -> None:
    """Also after the file was made and looked at."""
    model = kind()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    evidence = prove(model, FEATURES, tmp_path, exporter="torchscript")
    assert evidence.verdict == "inconclusive"
    assert "the first call of the module overwrites" in evidence.reasons[0]
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not model.is_ready


def test_what_is_kept_inside_is_given_back(tmp_path: Path) -> None:
    """An object in a list in a dict has no mean afterwards."""
    model = KeptInside()
    assert prove(model, FEATURES, tmp_path, exporter="torchscript").verdict == "inconclusive"
    assert vars(model.memory["layers"][0]) == {}


def test_caches_and_counters_are_nothing_to_doubt(tmp_path: Path) -> None:
    """No answer depends on them: the file passes."""
    file = exported(Cached(), FEATURES, tmp_path, exporter="torchscript")
    assert file.inputs.overwritten == ""
    evidence = file.prove()
    assert evidence.verdict == "pass", evidence.reasons


def test_a_module_that_was_called_before_passes(tmp_path: Path) -> None:
    """Its statistics are part of what it is."""
    model = ActNorm().eval()
    model(torch.randn(16, 6))
    evidence = prove(model, FEATURES, tmp_path, exporter="torchscript")
    assert evidence.verdict == "pass", evidence.reasons


def test_why_an_export_failed_is_what_the_first_call_does(tmp_path: Path) -> None:
    """Exporters see the first call, which each run begins with, and can't take it."""
    with pytest.raises(ExportError, match=r"could not be exported: torchscript .*the first call .* overwrites codes"):
        exported(Refused(), FEATURES, tmp_path, exporter="torchscript")
