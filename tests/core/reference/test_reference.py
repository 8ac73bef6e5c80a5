"""What the module itself answers, each answer computed as seldom as can be."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from tasks.core.inputs.choice import choose_inputs
from tasks.core.inputs.probes import Probe
from tasks.core.reference import reference as references
from tasks.core.reference.reference import Reference
from tasks.core.spec.export_spec import ExportSpec
from tasks.core.spec.input_spec import InputSpec


class Apart(nn.Module):
    """Answers each row by itself."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(8, 100)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """From x [batch, 8]."""
        return torch.tanh(self.layer(x))


class Together(Apart):
    """Its rows depend on each other."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """From x [batch, 8]."""
        return super().forward(x - x.mean(dim=0))


class Ranked(Apart):
    """Integers that tell the place in the whole batch."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """From x [batch, 8]."""
        return super().forward(x).flatten().argsort().reshape(len(x), -1)


class Summed(Apart):
    """An output without a batch."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """From x [batch, 8]."""
        return super().forward(x).sum(dim=0)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Batch size of each float64 run."""
    sizes: list[int] = []
    run = references.run_float64

    def counted(model: nn.Module, args: tuple[torch.Tensor, ...], kwargs: dict[str, torch.Tensor], **options: object):  # type: ignore[no-untyped-def]
        sizes.append(len(next(iter((*args, *kwargs.values())))))
        return run(model, args, kwargs, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(references, "run_float64", counted)
    return sizes


def _reference(model: nn.Module) -> tuple[Reference, list[Probe]]:
    spec = ExportSpec(model=model, weights="as-built", inputs=(InputSpec.parse("x=float32[batch,8]"),))
    inputs = choose_inputs(spec, model.eval())
    return Reference(model, inputs), [probe for probe in inputs.probes if probe.family == "normal"]


def test_rows_that_were_answered_are_not_run_again(runs: list[int]) -> None:
    """A larger batch of a module that answers rows apart needs no float64 run; its answer is the true one."""
    reference, probes = _reference(Apart())
    assert [probe.sizes["batch"] for probe in probes] == [2, 2, 1, 3, 5]
    answers = [reference.float64(probe)[0] for probe in probes]
    assert runs == [2, 2, 1]
    for probe, answer in zip(probes, answers, strict=True):
        (x,) = reference.inputs.arrays(probe).values()
        true = torch.tanh(
            torch.nn.functional.linear(torch.tensor(x).double(), *(p.double() for p in reference.network.parameters()))
        )
        assert np.allclose(answer, true.detach().numpy(), rtol=0, atol=1e-14)


@pytest.mark.parametrize("make", [Together, Ranked, Summed])
def test_rows_that_depend_on_each_other_are_run_together(make: Callable[[], nn.Module], runs: list[int]) -> None:
    """The module's own float32 run shows it, be the outputs floats, integers or without a batch."""
    reference, probes = _reference(make())
    for probe in probes:
        reference.float64(probe)
    assert runs == [2, 2, 1, 3, 5]


def test_rows_of_a_large_batch_differ() -> None:
    """A batch of five has five rows, from three probes."""
    reference, probes = _reference(Apart())
    (large,) = reference.inputs.arrays(probes[-1]).values()
    assert len({row.tobytes() for row in large}) == 5
    sources = [reference.inputs.arrays(probe)["x"] for probe in probes[:3]]
    assert {row.tobytes() for row in large} == {row.tobytes() for array in sources for row in array}


def test_a_batch_that_stands_twice_in_an_input_is_drawn_anew() -> None:
    """The rows of an adjacency matrix [nodes, nodes] do not fit another number of nodes."""

    class Graph(nn.Module):
        def forward(self, x: torch.Tensor, adjacency: torch.Tensor) -> torch.Tensor:
            return adjacency @ x

    specs = ("x=float32[nodes:2..8,4]", "adjacency=float32[nodes,nodes]")
    spec = ExportSpec(model=Graph(), weights="as-built", inputs=tuple(InputSpec.parse(text) for text in specs))
    inputs = choose_inputs(spec, Graph().eval())
    assert {probe.sizes["nodes"] for probe in inputs.probes} >= {2, 3, 5, 8}
    for probe in inputs.probes:
        size = probe.sizes["nodes"]
        assert {name: array.shape for name, array in inputs.arrays(probe).items()} == {
            "x": (size, 4),
            "adjacency": (size, size),
        }


def test_a_large_batch_comes_at_the_traced_sizes_of_the_others() -> None:
    """So that its rows are known, unless a size of another dimension would be left out."""
    model = nn.Conv2d(3, 4, 3)
    spec = ExportSpec(
        model=model, weights="as-built", inputs=(InputSpec.parse("x=float32[batch,3,height=40,width=48]"),)
    )
    inputs = choose_inputs(spec, model.eval())
    large = next(probe for probe in inputs.probes if probe.sizes["batch"] == 5)
    assert large.sizes == {"batch": 5, "height": 40, "width": 48}
    assert len(large.rows) == 5
    for name in ("height", "width"):
        assert len({probe.sizes[name] for probe in inputs.probes}) == 3
