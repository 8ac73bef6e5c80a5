"""What the module itself answers, each answer computed as seldom as can be."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from tasks.core.errors import OutOfMemoryError
from tasks.core.forward import precision
from tasks.core.inputs.choice import choose_inputs
from tasks.core.inputs.probes import Probe
from tasks.core.reference import answers
from tasks.core.reference.reference import Reference
from tasks.core.spec.export_spec import ExportSpec
from tasks.core.spec.input_spec import InputSpec
from tasks.core.spec.resolve import resolve
from tests.models.row_models import Apart, Summed


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


class Residual(Apart):
    """A block x + f(x)."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """From x [batch, 8]."""
        return x + super().forward(x)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Batch size of each float64 run."""
    sizes: list[int] = []
    run = answers.run_float64

    def counted(model: nn.Module, args: tuple[torch.Tensor, ...], kwargs: dict[str, torch.Tensor], **options: object):  # type: ignore[no-untyped-def]
        sizes.append(len(next(iter((*args, *kwargs.values())))))
        return run(model, args, kwargs, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(answers, "run_float64", counted)
    return sizes


def _reference(model: nn.Module) -> tuple[Reference, list[Probe]]:
    spec = resolve(ExportSpec(model=model, weights="as-built", inputs=(InputSpec.parse("x=float32[batch,8]"),)))
    inputs = choose_inputs(spec, model.eval())
    return Reference(model, inputs), [probe for probe in inputs.probes if probe.family == "normal"]


def test_rows_that_were_answered_are_not_run_again(runs: list[int]) -> None:
    """A larger batch of a module that answers rows apart needs no float64 run; its answer is the true one."""
    reference, probes = _reference(Apart())
    assert [probe.sizes["batch"] for probe in probes] == [2, 2, 1, 3, 5]
    found = [reference.float64(probe)[0] for probe in probes]
    assert runs == [2, 2, 1]
    for probe, answer in zip(probes, found, strict=True):
        (x,) = reference.inputs.arrays(probe).values()
        true = torch.tanh(
            torch.nn.functional.linear(torch.tensor(x).double(), *(p.double() for p in reference.network.parameters()))
        )
        assert np.allclose(answer, true.detach().numpy(), rtol=0, atol=1e-14)


def test_the_largest_batch_is_not_run_where_rows_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a module that answered the rows of two larger batches by themselves."""
    reference, probes = _reference(Apart())
    (large,) = (probe for probe in reference.inputs.probes if probe.family == "large")
    for probe in probes:
        reference.float64(probe)
    with monkeypatch.context() as patched:
        patched.setattr(answers, "run_float32", None)
        found = reference.float32(large)
    assert len(found[0]) == large.sizes["batch"] > 8
    alone = Reference(reference.network, reference.inputs).float32(large)
    assert np.allclose(found[0], alone[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("make", [Together, Ranked, Summed])
def test_rows_that_depend_on_each_other_are_run_together(make: Callable[[], nn.Module], runs: list[int]) -> None:
    """The module's own float32 run shows it, be the outputs floats, integers or without a batch."""
    reference, probes = _reference(make())
    for probe in probes:
        reference.float64(probe)
    assert runs == [probe.sizes["batch"] for probe in probes]
    assert runs[:5] == [2, 2, 1, 3, 5]


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
    spec = resolve(ExportSpec(model=Graph(), weights="as-built", inputs=tuple(InputSpec.parse(text) for text in specs)))
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
    spec = resolve(
        ExportSpec(model=model, weights="as-built", inputs=(InputSpec.parse("x=float32[batch,3,height=40,width=48]"),))
    )
    inputs = choose_inputs(spec, model.eval())
    large = next(probe for probe in inputs.probes if probe.sizes["batch"] == 5)
    assert large.sizes == {"batch": 5, "height": 40, "width": 48}
    assert len(large.rows) == 5
    for name in ("height", "width"):
        assert len({probe.sizes[name] for probe in inputs.probes if probe.family != "large"}) == 3


class Narrow(Apart):
    """Refuses float64, as a custom kernel may."""

    error: Exception = RuntimeError("no kernel for Double")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """From x [batch, 8]."""
        if x.dtype == torch.float64:
            raise self.error
        return super().forward(x)


def test_a_module_without_float64_has_a_stand_in_and_a_note() -> None:
    """The floor is then the mean of float32 runs, and a reader is told, with the reason."""
    reference, probes = _reference(Narrow())
    exact = reference.float64(probes[0])[0]
    assert exact.dtype == np.float64
    assert np.allclose(exact, reference.float32(probes[0])[0], atol=1e-5)
    assert reference.floor == "mean of 5 perturbed float32 runs, as the module has no float64 path"
    assert reference.floor_note.endswith("no float64 path (RuntimeError: no kernel for Double)")


def test_float64_throughout_needs_no_note() -> None:
    """The usual case."""
    reference, probes = _reference(Apart())
    reference.float64(probes[0])
    assert (reference.floor, reference.floor_note) == ("float64", "")


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_a_lack_of_memory_is_no_lack_of_float64(error: Exception) -> None:
    """The floor is not weakened because a machine is small: the proof ends with a sentence."""
    model = Narrow()
    model.error = error
    reference, probes = _reference(model)
    with pytest.raises(OutOfMemoryError, match="Memory ran out while Narrow ran at batch=2"):
        reference.float64(probes[0])
    assert reference.floor == "float64"


def test_a_mistake_of_assay_is_no_lack_of_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """A KeyError in Assay's own lines ends the proof as what it is."""
    reference, probes = _reference(Apart())
    monkeypatch.setattr(precision, "_PLAIN_LAYERS", None)  # `type(module) in None` raises in precision.py
    with pytest.raises(TypeError, match="NoneType"):
        reference.float64(probes[0])


def test_answers_are_computed_once_until_they_are_forgotten() -> None:
    """A memo and nothing else: asked again, it gives the same arrays; forgotten, it computes them anew."""
    reference, probes = _reference(Apart())
    first = reference.float32(probes[0])
    assert reference.float32(probes[0]) is first
    reference.forget(probes[4])
    assert reference.float32(probes[0]) is first
    reference.forget(probes[0])  # its rows are those of the larger batches
    assert reference.float32(probes[0]) is first
    reference.release()
    again = reference.float32(probes[0])
    assert again is not first
    assert np.array_equal(again[0], first[0])


def test_facts_are_there_without_a_run_before() -> None:
    """Names, groups and additions are computed when they are asked for."""
    assert _reference(Apart())[0].output_names == ("output",)
    reference, probes = _reference(Apart())
    assert reference.groups == ()
    assert not reference.thresholds.sizes_by_data
    reference, probes = _reference(Residual())
    assert len(reference.additions(probes[0])) == 1
    assert _reference(Apart())[0].unrepeatable() == ""


def test_the_values_of_one_probe_are_kept_at_a_time() -> None:
    """They take as much memory as the network's activations."""
    reference, probes = _reference(Apart())
    first = reference.traced(probes[0])
    assert reference.traced(probes[0]) is first
    assert reference.traced(probes[1]) is not first
    assert reference.traced(probes[0]) is not first
