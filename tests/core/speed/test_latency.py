"""A run is timed by turns, within a budget, as a user would run it; what can't be timed has a reason."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tasks.core.export.fallback import export
from tasks.core.inputs.choice import choose_inputs
from tasks.core.inputs.inputs import Inputs
from tasks.core.records.steps import Candidate, LoadReport, Weights
from tasks.core.reference.module import BuiltModule
from tasks.core.reference.reference import Reference
from tasks.core.spec.export_spec import ExportSpec
from tasks.core.spec.resolve import resolve
from tasks.core.speed import budget, latency
from tests.core.reports.report_records import make_manifest
from tests.models.tiny_models import Classifier

Made = tuple[Candidate, BuiltModule, Inputs]


def made(model: nn.Module, folder: Path, *inputs: str) -> Made:
    """A file, its module and inputs."""
    spec = resolve(ExportSpec(model=model.eval(), name="tiny", inputs=inputs, exporter="torchscript"))
    chosen = choose_inputs(spec, model)
    candidate, _ = export(spec, Reference(model, chosen), provenance={}, folder=folder)
    weights = Weights(kind="state_dict", origin="in memory")
    report = LoadReport(num_loaded=0, num_parameters=0, model_class="Classifier")
    return candidate, BuiltModule(spec, weights, report, make_manifest(), [model]), chosen


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A tiny one with a dynamic batch."""
    return made(Classifier(), tmp_path_factory.mktemp("file"), "image=float32[batch,3,8,8]")


def runs_of(seconds: float, calls: list[int]) -> Callable[[int], list[float]]:
    """Runs that take so long, noted by how many there were at once."""

    def run(num_runs: int) -> list[float]:
        calls.append(num_runs)
        time.sleep(seconds * num_runs)
        return [seconds] * num_runs

    return run


@pytest.mark.timed
def test_both_are_timed_on_a_batch_of_one(classifier: Made) -> None:
    """A batch of one where the file takes one, with the threads, the shapes and the processor; within the budget."""
    started = time.perf_counter()
    found = latency.measure(*classifier)
    assert time.perf_counter() - started < budget.SECONDS + 1
    assert (found.reason, found.batch_size, found.shapes) == ("", 1, {"image": (1, 3, 8, 8)})
    assert found.threads == torch.get_num_threads()
    assert found.cpu
    for timing in (found.onnx, found.torch):
        assert timing is not None
        assert 0 < timing.low_ms <= timing.median_ms <= timing.high_ms < 1000
        assert timing.num_runs >= latency.MIN_RUNS


@pytest.mark.timed
def test_a_fixed_batch_is_the_one_that_is_timed(tmp_path: Path) -> None:
    """The file takes no other."""
    found = latency.measure(*made(Classifier(), tmp_path, "image=float32[2,3,8,8]"))
    assert (found.reason, found.batch_size) == ("", 2)


@pytest.mark.timed
def test_what_cannot_be_timed_has_a_reason(classifier: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large file, a module that raises, one whose runs are too dear: no figure, and no error."""
    candidate, module, inputs = classifier
    large = Candidate(candidate.graph.model_copy(update={"size_bytes": 3 * 10**9}))
    assert latency.measure(large, module, inputs).reason == "a file of 3.0 GB takes too long to open"

    class Raises(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            raise ZeroDivisionError("not twice")

    raising = BuiltModule(module.spec, module.weights, module.report, module.manifest, [Raises()])
    found = latency.measure(candidate, raising, inputs)
    assert (found.reason, found.onnx, found.torch) == ("not twice", None, None)
    monkeypatch.setattr(budget, "SECONDS", 1e-3)
    assert "runs of both take more than 0.001 s" in latency.measure(candidate, module, inputs).reason


@pytest.mark.timed
def test_a_busy_machine_gives_no_figure(classifier: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where others have the processors, what would be measured is them."""
    monkeypatch.setattr(budget, "MAX_TAKEN", -1.0)
    found = latency.measure(*classifier)
    assert found.onnx is None
    assert "the machine is busy, other processes had" in found.reason


def test_runs_alternate_in_warmed_blocks() -> None:
    """Both get blocks by turns; the first run of a block of several does not count, nor the first of all."""
    calls: tuple[list[int], list[int]] = ([], [])
    deadline = time.perf_counter() + 2
    found = latency.in_turn(runs_of(0.01, calls[0]), runs_of(0.2, calls[1]), deadline=deadline)
    assert found is not None
    assert calls[1] == [1] * len(calls[1])
    assert calls[0][0] == 1
    assert all(8 <= number <= 11 for number in calls[0][1:4])
    assert [len(one) for one in found] == [sum(calls[0][1:]) - len(calls[0][1:]), len(calls[1]) - 1]
    assert len(found[1]) >= latency.MIN_RUNS
    assert abs(len(calls[0]) - len(calls[1])) <= 1


def test_what_is_too_dear_stops_in_time() -> None:
    """No figure of one run, and no second run where the first has used the time up."""
    calls: tuple[list[int], list[int]] = ([], [])
    deadline = time.perf_counter() + 0.05
    assert latency.in_turn(runs_of(0.01, calls[0]), runs_of(0.1, calls[1]), deadline=deadline) is None
    assert calls == ([], [1])


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ([0.003, 0.001, 0.002], (2.0, 1.0, 3.0)),
        ([index / 1000 for index in range(1, 101)], (50.5, 41.0, 60.0)),
        ([0.001] * 99 + [5.0], (1.0, 1.0, 1.0)),
    ],
)
def test_the_median_has_an_interval_by_ranks(seconds: list[float], expected: tuple[float, float, float]) -> None:
    """Of few runs their range; one run that something else held up moves neither."""
    found = latency.timing_of(seconds)
    assert (found.median_ms, found.low_ms, found.high_ms) == pytest.approx(expected)


def test_the_interval_has_the_median_as_often_as_it_says() -> None:
    """Of a lopsided distribution, in 93 to 99 of a hundred draws."""
    draws: Any = torch.empty(1000, 25).exponential_(generator=torch.Generator().manual_seed(0)).tolist()
    median = 1000 * 0.6931
    hits = sum(found.low_ms <= median <= found.high_ms for found in map(latency.timing_of, draws))
    assert 930 <= hits <= 990
