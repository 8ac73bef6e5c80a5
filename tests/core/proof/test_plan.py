"""A plan holds every probe that is to be run, and which of the file's inputs and outputs are the module's."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from tasks.core.inputs.choice import choose_inputs
from tasks.core.proof.plan import Plan, make_plan
from tasks.core.records.steps import Candidate, Graph, TensorType
from tasks.core.reference.reference import Reference
from tasks.core.runtime.passes import LEVELS
from tasks.core.spec.export_spec import ExportSpec
from tasks.core.spec.resolve import resolve


def _graph(**changes: object) -> Graph:
    outputs = tuple(TensorType(name=name, dtype="float32", dims=()) for name in ("b", "a"))
    known = {
        "path": Path("model.onnx"), "sha256": "0" * 64, "size_bytes": 1, "opset": 20, "num_nodes": 1,
        "exporter": "other", "exporter_reason": "", "inputs": (), "outputs": outputs,
    }  # fmt: skip
    return Graph.model_validate({**known, **changes})


def _plan(num_outputs: int, **changes: object) -> Plan:
    model = nn.Linear(4, num_outputs).eval()
    spec = resolve(ExportSpec(model=model, inputs=("x=float32[batch,4]",)))
    return make_plan(Candidate(_graph(**changes)), Reference(model, choose_inputs(spec, model)))


def test_large_outputs_need_the_planned_probes_only() -> None:
    """As inputs has planned them."""
    plan = _plan(100)
    assert [probe.family for probe in plan.probes] == ["normal"] * 4 + ["wide", "zeros", "normal", "large"]
    assert {probe.sizes["batch"] for probe in plan.probes} == {1, 2, 3, 5, 33}


def test_small_outputs_get_further_seeds() -> None:
    """Of the normal and the wide family, optional ones: one small error of torch32 may be luck."""
    further = [probe for probe in _plan(1).probes if probe.seed >= 100]
    assert [probe.family for probe in further] == ["normal", "wide"] * 8
    assert all(probe.optional for probe in further)


def test_sizes_that_an_exporter_suspects_are_run() -> None:
    """One probe each, which must run."""
    suspicious = [probe for probe in _plan(100, beyond={"batch": (8, 9)}).probes if probe.sizes["batch"] in (8, 9)]
    assert len(suspicious) == 2
    assert not any(probe.optional for probe in suspicious)


def test_a_large_file_is_not_opened_at_each_level() -> None:
    """One probe takes all levels; of a file of a gigabyte those that differ most."""
    small, large = _plan(100), _plan(100, size_bytes=1 << 30)
    assert {level for probe in small.probes for level in small.levels_of(probe)} == {*LEVELS}
    assert {level for probe in large.probes for level in large.levels_of(probe)} == {"off", "all"}
    assert sum("basic" in probe.levels for probe in small.probes) == 1


def test_a_plan_does_not_change() -> None:
    """What a proof starts from can't be written to while it runs."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        _plan(100).probes = ()  # type: ignore[misc]


def test_names_and_order_of_the_file_are_translated() -> None:
    """Inputs by name, outputs by place."""
    plan = Plan(_graph(), (), (), file_inputs={"x": "input_1"}, output_order=(1, 0))
    assert plan.output_names == ["a", "b"]
    array = np.zeros(3)
    assert plan.feeds({"x": array, "y": array}) == {"input_1": array, "y": array}
