"""How far two files are apart is measured on inputs that both take, and nowhere else."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tasks.core.onnx_files.reading import read_graph
from tasks.core.provenance.attempts import PastExport
from tasks.core.provenance.drift import NUM_PROBES, measure_drift
from tasks.core.records.comparison import Drift
from tasks.core.records.evidence import ProbeRecord
from tasks.core.records.steps import Release
from tests.core.reports.report_records import make_evidence, make_manifest

WEIGHT = np.arange(1, 7, dtype=np.float32).reshape(3, 2)
Version = tuple[PastExport, Path]


@pytest.fixture
def version(tmp_path: Path) -> Callable[..., Version]:
    """A function that makes a version of one node, `y = x @ weight` or another, proven at batches of 2, 1 and 3."""

    def make(
        weight: np.ndarray = WEIGHT, *, names: tuple[str, str] = ("x", "y"), spec: str = "x=float32[batch,3]",
        dims: tuple[Any, ...] = ("batch", 3), operator: str = "MatMul", sizes: tuple[int, ...] = (2, 1, 3),
    ) -> Version:  # fmt: skip
        given, gives = names
        dtype = TensorProto.INT64 if operator == "Gather" else TensorProto.FLOAT
        taken = ["weight", given] if operator == "Gather" else [given, "weight"]
        graph = helper.make_graph(
            [helper.make_node(operator, taken, [gives])], "g",
            [helper.make_tensor_value_info(given, dtype, list(dims))],
            [helper.make_tensor_value_info(gives, TensorProto.FLOAT, None)],
            [numpy_helper.from_array(weight, "weight")],
        )  # fmt: skip
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
        probes = tuple(ProbeRecord(family="normal", seed=1, sizes={"batch": size}, levels=("all",)) for size in sizes)
        return PastExport(
            manifest=make_manifest(spec=json.dumps({"inputs": [spec] if spec else []})),
            graph=read_graph(path),
            evidence=make_evidence(probes=probes),
            release=Release(run_id="0"),
        ), path

    return make


def drift(before: Version, now: Version) -> Drift:
    """Between two versions."""
    return measure_drift(before[0], now[0], (before[1], now[1]))


def test_equal_files_do_not_drift(version: Callable[..., Version]) -> None:
    """Over a few inputs, at the sizes at which they were proven."""
    found = drift(version(), version())
    assert [(o.name, o.relative_rms, o.largest) for o in found.outputs] == [("y", 0.0, 0.0)]
    assert found.sizes == ({"batch": 2}, {"batch": 1}, {"batch": 3}, {"batch": 2})
    assert len(found.sizes) == NUM_PROBES


def test_other_weights_drift_by_as_much(version: Callable[..., Version]) -> None:
    """One per cent more in each weight is one per cent of the output."""
    (output,) = drift(version(), version(WEIGHT * np.float32(1.01))).outputs
    assert output.relative_rms == pytest.approx(0.01, rel=1e-3)
    assert output.largest is not None
    assert 0.005 < output.largest < 10


def test_what_has_another_name_is_matched_by_position(version: Callable[..., Version]) -> None:
    """Inputs and outputs, with both names told."""
    other = version(WEIGHT * 2, names=("picture", "scores"), spec="picture=float32[rows,3]", dims=("rows", 3))
    (output,) = drift(version(), other).outputs
    assert (output.name_before, output.name, output.relative_rms) == ("y", "scores", 1.0)


def test_a_size_that_one_file_fixes_is_taken(version: Callable[..., Version]) -> None:
    """Of the sizes of the other."""
    fixed = version(spec="x=float32[3,3]", dims=(3, 3))
    for pair in ((version(), fixed), (fixed, version())):
        found = drift(*pair)
        assert (found.reason, found.outputs[0].largest, found.sizes[0]) == ("", 0.0, {})


def test_sizes_are_those_of_both(version: Callable[..., Version]) -> None:
    """A size at which the second file was never proven is left out."""
    assert drift(version(), version(sizes=(1, 3))).sizes[:2] == ({"batch": 1}, {"batch": 3})


def test_contracts_that_share_no_input_are_told(version: Callable[..., Version]) -> None:
    """In one sentence, with both."""
    other = version(np.ones((4, 2), np.float32), spec="x=float32[batch,4]", dims=("batch", 4))
    assert drift(version(), other) == Drift(
        reason="the two files can't be run on the same inputs: the contract differs, for x: float32[batch, 3] and "
        "x: float32[batch, 4] can't be the same array."
    )


def test_values_are_legal_for_both(version: Callable[..., Version]) -> None:
    """Indices into the smaller of two tables; a range that nobody recorded is not guessed."""
    rows = np.arange(40, dtype=np.float32).reshape(10, 4)
    indices = {"operator": "Gather", "dims": ("batch",)}
    small = version(rows[:3], spec="x=int64[batch]@0..2", **indices)
    large = version(rows, spec="x=int64[batch]@0..9", **indices)
    for pair in ((small, large), (large, small)):
        assert [output.largest for output in drift(*pair).outputs] == [0.0]
    assert "is int64 without a range" in drift(large, version(rows, spec="", **indices)).reason


def test_inputs_that_the_model_declared_itself_are_read_from_the_file(version: Callable[..., Version]) -> None:
    """Floats need no range."""
    found = drift(version(spec=""), version(WEIGHT * 3, spec=""))
    assert found.outputs[0].relative_rms == pytest.approx(2.0)
    assert found.sizes[1] == {"batch": 1}


def test_another_shape_is_no_figure(version: Callable[..., Version]) -> None:
    """But a sentence."""
    (output,) = drift(version(), version(np.ones((3, 5), np.float32))).outputs
    assert (output.relative_rms, output.reason) == (None, "its shape [2, 2] became [2, 5]")


def test_what_is_not_finite_is_seen(version: Callable[..., Version]) -> None:
    """NaN on both sides is no difference; on one side it is an infinite one."""
    broken = WEIGHT.copy()
    broken[0, 0] = math.nan
    assert [o.largest for o in drift(version(broken), version(broken)).outputs] == [0.0]
    (output,) = drift(version(), version(broken)).outputs
    assert (output.relative_rms, output.largest) == (math.inf, math.inf)


def test_what_onnx_runtime_refuses_is_told(version: Callable[..., Version]) -> None:
    """A file that takes fewer columns than its header says."""
    other = version(np.ones((4, 2), np.float32), dims=("batch", "columns"), spec="")
    assert drift(version(), other).reason.startswith("ONNX Runtime can't run both files on the same inputs: ")
