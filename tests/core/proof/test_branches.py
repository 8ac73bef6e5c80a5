"""Each way of a file's own branches and loops is gone by some probe, or it is said which was not."""

from pathlib import Path

import onnx
import pytest
import torch
from torch import nn

from tasks.core.hashes import file_sha256
from tasks.core.inputs.choice import choose_inputs
from tasks.core.onnx_files.conditions import with_counts
from tasks.core.onnx_files.reading import read_graph
from tasks.core.proof.validation import validate
from tasks.core.records.evidence import Evidence
from tasks.core.records.steps import Candidate
from tasks.core.reference.reference import Reference
from tasks.core.spec.export_spec import ExportSpec
from tasks.core.spec.resolve import resolve

LOOP = """<ir_version: 9, opset_import: ["" : 18]>
loops (float[n,4] x) => (float[n,4] y) <{constants}bool yes = {{1}}> {{
    {steps}
    y = Loop({trips}, {condition}, x{states}) <body = step (int64 i, bool go, float[n,4] state{given}) =>
        (bool on, float[n,4] next{kept}) {{ {body} next = Add(state, state) }}>
}}"""
"""Doubles x once a turn."""


def loop(path: Path, *, steps: str, body: str = "on = Identity(go)", **parts: str) -> Path:
    """A file with a loop."""
    known = {"constants": "", "trips": "trips", "condition": "yes", "states": "", "given": "", "kept": ""}
    text = LOOP.format(**{**known, "steps": steps, "body": body, **parts})
    onnx.save(onnx.parser.parse_model(text), path)
    return path


BY_VALUES = "top = ReduceMax<keepdims = 0>(x) low = Abs(top) one = Clip(low, least, most) trips = Cast<to = 7>(one)"


def by_values(least: int, most: int) -> dict[str, str]:
    """As many turns as the largest number says, within bounds."""
    return {"steps": BY_VALUES, "constants": f"float least = {{{least}}}, float most = {{{most}}}, "}


def proven(path: Path, function: object) -> Evidence:
    """The evidence of a file against a function."""

    class Function(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            """Whatever the function gives."""
            answer: torch.Tensor = function(x)  # type: ignore[operator]
            return answer

    model = Function().eval()
    spec = resolve(ExportSpec(model=model, name="tiny", inputs=("x=float32[n,4]",)))
    graph = read_graph(path).model_copy(update={"sha256": file_sha256(path)})
    return validate(Candidate(graph), Reference(model, choose_inputs(spec, model))).evidence


def test_a_loop_that_turns_once_on_every_probe_is_a_doubt(tmp_path: Path) -> None:
    """What a second turn computes was not compared, though values may make it turn again."""
    evidence = proven(loop(tmp_path / "once.onnx", **by_values(1, 1)), lambda x: x + x)
    assert evidence.verdict == "inconclusive"
    assert "no probe made the file's loop y turn more than once" in evidence.reasons[0]


def test_a_loop_that_turns_several_times_passes(tmp_path: Path) -> None:
    """At which numbers of turns it was not compared stands in the notes."""
    evidence = proven(loop(tmp_path / "three.onnx", **by_values(3, 3)), lambda x: 8 * x)
    assert evidence.verdict == "pass", evidence.reasons
    assert "the file's loop y was not compared at no turn and one turn" in evidence.notes


def test_a_side_that_sizes_decide_is_noted(tmp_path: Path) -> None:
    """A file of somebody else's with another answer for more rows than any probe has."""
    text = """<ir_version: 9, opset_import: ["" : 18]>
    branches (float[n,4] x) => (float[n,4] y) <int64 many = {1000}, int64 zero = {0}> {
        shape = Shape(x)
        rows = Gather(shape, zero)
        is_large = Greater(rows, many)
        y = If(is_large) <then_branch = large () => (float[n,4] a) { a = Neg(x) },
                          else_branch = small () => (float[n,4] b) { b = Abs(x) }>
    }"""
    path = tmp_path / "sizes.onnx"
    onnx.save(onnx.parser.parse_model(text), path)
    evidence = proven(path, torch.abs)
    assert "no probe took the then side of the file's branch y, which sizes decide" in evidence.notes
    assert evidence.verdict == "pass", evidence.reasons


@pytest.mark.parametrize(
    ("parts", "on_values"),
    [
        ({"steps": "trips = Constant<value_int = 4>()"}, None),
        ({"steps": "shape = Shape(x) trips = Gather(shape, zero)", "constants": "int64 zero = {0}, "}, False),
        (by_values(0, 9), True),
        ({"steps": "trips = Size(x)", "body": "s = ReduceMax<keepdims = 0>(state) is = IsNaN(s) on = Not(is)"}, True),
        (
            {
                "steps": "first = Constant<value_int = 0>()",
                "trips": "",
                "constants": "int64 four = {4}, int64 one = {1}, ",
                "states": ", first",
                "given": ", int64 n_",
                "kept": ", int64 m_",
                "body": "m_ = Add(n_, one) on = Less(m_, four)",
            },
            None,
        ),
    ],
)
def test_loops_are_told_apart_by_what_ends_them(parts: dict[str, str], on_values: bool | None, tmp_path: Path) -> None:
    """Constants, also by way of a counter that the loop carries; sizes; values."""
    _, counted = with_counts(loop(tmp_path / "loop.onnx", **parts))
    assert [node.on_values for node in counted] == ([] if on_values is None else [on_values])
