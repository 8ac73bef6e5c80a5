"""Control flow that PyTorch keeps in an export is run in every mode, and each side of a branch is taken or doubted."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn
from torch._higher_order_ops.map import map as map_rows
from torch._higher_order_ops.scan import scan
from torch._higher_order_ops.while_loop import while_loop

from tasks.core.forward.precision import run_float32, run_float64, run_perturbed
from tasks.core.forward.recorder import Recorder
from tasks.core.model.random_weights import build_with_random_weights
from tasks.core.onnx_files.conditions import with_counts
from tasks.core.runtime import sessions
from tests.core.proof.proving import prove

FEATURES = ("x=float32[batch,6]",)


class _Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(6, 6)


class Repeated(_Layer):
    """A loop over values."""

    def forward(self, x: torch.Tensor) -> Any:
        """Four steps."""
        start = torch.tensor(0), self.layer(x)
        return while_loop(lambda n, y: n < 4, lambda n, y: (n + 1, torch.tanh(y) + x), start)[1]


class Signed(_Layer):
    """A branch of which ordinary inputs take both sides."""

    threshold = 0.0

    def forward(self, x: torch.Tensor) -> Any:
        """One of two functions, by the sum."""
        y = self.layer(x)
        return torch.cond(y.sum() > self.threshold, lambda y: torch.tanh(self.layer(y)), lambda y: y - 1, (y,))


class Rare(Signed):
    """A branch of which no ordinary input takes one side."""

    threshold = 1e4


class Recurrent(_Layer):
    """A scan over the features."""

    def forward(self, x: torch.Tensor) -> Any:
        """The last state and all outputs."""
        steps = self.layer(x).T.contiguous()
        return scan(lambda state, step: (state + torch.tanh(step), state * step), torch.zeros_like(steps[0]), steps)


class RowByRow(_Layer):
    """The same function for each row."""

    def forward(self, x: torch.Tensor) -> Any:
        """Tanh of a layer."""
        return map_rows(lambda row: torch.tanh(self.layer(row)), x)


class InALoop(_Layer):
    """A branch inside a loop, of which each step takes the same side."""

    def forward(self, x: torch.Tensor) -> Any:
        """Four steps."""

        def step(n: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return n + 1, torch.cond(y.abs().max() > 1e4, torch.tanh, torch.sin, (y,))

        return while_loop(lambda n, y: n < 4, step, (torch.tensor(0), self.layer(x)))[1]


@pytest.mark.parametrize("kind", [Repeated, Signed, Recurrent, RowByRow, InALoop])
def test_each_mode_runs_it(kind: type[nn.Module]) -> None:
    """Float64 is float64 throughout, perturbed is near, and the recorder sees one operator, as a file has one node."""
    model, x = kind().eval(), torch.randn(3, 6)
    plain, exact, moved = (
        torch.utils._pytree.tree_leaves(answer)[-1]
        for answer in (
            run_float32(model, (x,), {}),
            run_float64(model, (x,), {}),
            run_perturbed(model, (x,), {}, seed=0),
        )
    )
    assert exact.dtype == torch.float64
    for other in (plain, moved):
        assert 0 < float((other - exact).abs().max()) < 1e-5
    recorder = Recorder(model)
    with recorder.watching():
        run_float32(model, (x,), {})
    names = [call.name for call in recorder.trace.calls]
    assert {"while_loop", "cond", "scan", "map_impl"} & set(names)
    assert "aten.tanh.default" not in names


def test_random_weights_are_drawn_for_it() -> None:
    """The recorder of their calibration runs it, too."""
    build_with_random_weights(Signed, lambda _: ((torch.randn(3, 6),), {}), seed=0)


@pytest.mark.parametrize("kind", [pytest.param(Repeated, marks=pytest.mark.slow), Signed])
def test_a_true_file_passes(kind: type[nn.Module], tmp_path: Path) -> None:
    """Of a loop, and of a branch whose two sides were taken."""
    assert prove(kind(), FEATURES, tmp_path).reasons == ()


@pytest.mark.slow
def test_a_scan_passes(tmp_path: Path) -> None:
    """Its state and its outputs."""
    assert prove(Recurrent(), FEATURES, tmp_path).reasons == ()


def test_a_side_that_no_probe_took_is_a_doubt(tmp_path: Path) -> None:
    """What the file computes there was never compared."""
    evidence = prove(Rare(), FEATURES, tmp_path)
    assert evidence.verdict == "inconclusive"
    assert "no probe took the then side" in evidence.reasons[0]
    assert "test_control_flow.py" in evidence.reasons[0]


def test_counts_are_of_conditions_on_inputs(tmp_path: Path) -> None:
    """A branch inside a side is counted where it is reached; of one on shapes it is told."""
    path = tmp_path / "branches.onnx"
    onnx.save(_nested(), path)
    counting, counted = with_counts(path)
    feeds = [{"x": np.full(shape, value, np.float32)} for shape, value in (((2,), -1), ((2,), 3), ((3,), 1))]
    answers = sessions.answers(counting, feeds, level="off")
    assert [(node.title, node.on_values) for node in counted] == [("inner", True), ("outer", True), ("by_size", False)]
    assert np.sum(answers, axis=0).tolist() == [[1, 1], [1, 2], [0, 3]]


@pytest.mark.parametrize("opset", [11, 20])
def test_counts_inside_a_loop_are_summed(opset: int, tmp_path: Path) -> None:
    """Over its iterations, of which there may be none; a trip count by values makes the condition one on values."""
    axes = "axes = [0], keepdims = 0> (x)" if opset < 13 else "keepdims = 0> (x, zeros)"
    text = f"""<ir_version: 7, opset_import: ["" : {opset}]>
    loops (float[n] x) => (float total) <int64[1] zeros = {{0}}, float two = {{2}}, bool yes = {{1}}> {{
        sum = ReduceSum<{axes}
        steps = Cast<to = 7>(sum)
        total = Loop(steps, yes, sum) <body = step (int64 i, bool go, float state) => (bool on, float next) {{
            on = Identity(go)
            large = Greater(state, two)
            next = If(large) <
                then_branch = small () => (float a) {{ a = Sub(state, two) }},
                else_branch = big () => (float b) {{ b = Identity(state) }}>
        }}>
    }}"""
    path = tmp_path / "loops.onnx"
    onnx.save(onnx.parser.parse_model(text), path)
    counting, counted = with_counts(path)
    answers = sessions.answers(counting, [{"x": np.array([value], np.float32)} for value in (0, 3)], level="off")
    assert [(node.op_type, node.title) for node in counted] == [("If", "next"), ("Loop", "total")]
    assert [[counts.tolist() for counts in answer] for answer in answers] == [
        [[0, 0], [1, 0, 0]],
        [[2, 1], [0, 0, 1]],
    ]


def _nested() -> onnx.ModelProto:
    """An `If` on the sum of x, inside its then side one on the sum again, and one on the size of x."""

    def side(name: str, nodes: list[Any]) -> Any:
        return helper.make_graph(nodes, name, [], [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)])

    def plain(name: str, operator: str) -> Any:
        return side(name, [helper.make_node(operator, ["x"], [name])])

    def branch(name: str, condition: str, then: Any, other: Any) -> Any:
        return helper.make_node("If", [condition], [name], name=name, then_branch=then, else_branch=other)

    inner = branch("inner", "is_large", plain("a", "Neg"), plain("b", "Abs"))
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Greater", ["sum", "zero"], ["is_positive"]),
        helper.make_node("Greater", ["sum", "five"], ["is_large"]),
        branch("outer", "is_positive", side("inner", [inner]), plain("c", "Neg")),
        helper.make_node("Size", ["x"], ["size"]),
        helper.make_node("Cast", ["size"], ["is_full"], to=TensorProto.BOOL),
        branch("by_size", "is_full", plain("d", "Neg"), plain("e", "Abs")),
    ]
    scalars = [helper.make_tensor(name, TensorProto.FLOAT, [], [value]) for name, value in (("zero", 0), ("five", 5))]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in ("x", "outer", "by_size")]
    graph = helper.make_graph(nodes, "branches", values[:1], values[1:], scalars)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
