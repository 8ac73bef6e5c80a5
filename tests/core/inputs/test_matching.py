"""Inputs and outputs of a foreign file are matched with the module's by name, else by position; the rest is told."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from tasks.core.errors import InputsError
from tasks.core.inputs.inputs import Inputs
from tasks.core.inputs.matching import Matcher, _formula
from tasks.core.records.steps import Candidate, Graph, TensorType
from tasks.core.spec.export_spec import ExportSpec
from tasks.core.spec.input_spec import Dim
from tasks.core.spec.resolve import resolve
from tests.core.inputs.choosing import sample_file
from tests.core.inputs.test_sizes import Two
from tests.models.foreign_models import Blend, Heads, NamedHeads


def _graph(inputs: dict[str, tuple[int | str, ...]], *outputs: str, dtype: str = "float32") -> Graph:
    return Graph(
        path=Path("model.onnx"), sha256="0" * 64, size_bytes=1, opset=20, num_nodes=1, exporter="other",
        exporter_reason="", outputs=tuple(TensorType(name=name, dtype="float32", dims=("N", 3)) for name in outputs),
        inputs=tuple(TensorType(name=name, dtype=dtype, dims=dims) for name, dims in inputs.items()),
    )  # fmt: skip


def _match(model: nn.Module, graph: Graph, *inputs: str, **fields: Any) -> tuple[Candidate, Inputs]:
    spec = resolve(ExportSpec(model=model.eval(), name="tiny", inputs=inputs, **fields))
    return Matcher(spec, model, declared=bool(inputs)).match(graph)


def test_names_of_forward_need_no_note() -> None:
    """The dims are the file's, a dynamic batch under its own name."""
    candidate, inputs = _match(Heads(), _graph({"x": ("N", 4)}, "output_0", "output_1"))
    assert [str(spec) for spec in inputs.specs] == ["x=float32[N=2,4]"]
    assert (candidate.file_inputs, candidate.output_order, candidate.notes, candidate.failures) == ({}, (), (), ())


def test_other_names_are_matched_by_position() -> None:
    """And a reader is told."""
    candidate, _ = _match(Heads(), _graph({"input_1": ("N", 4)}, "a", "b"))
    assert candidate.file_inputs == {"x": "input_1"}
    assert "the file's input input_1 was taken for x, by position" in candidate.notes
    assert "the file's outputs were matched by position: a for output_0, b for output_1" in candidate.notes


def test_outputs_in_another_order_are_matched_by_name() -> None:
    """The module's names decide, or those that were asked for."""
    graph = _graph({"x": ("N", 4)}, "right", "left")
    assert _match(NamedHeads(), graph)[0].output_order == (1, 0)
    assert _match(Heads(), graph, outputs=("left", "right"))[0].output_order == (1, 0)
    assert _match(Heads(), graph)[0].output_order == ()


def test_an_input_too_many_fails_and_one_too_few_is_noted() -> None:
    """The module can't be given what it lacks; what the file lacks must not matter."""
    declared = ("first=float32[batch,4]", "second=float32[batch,4]", "ignored=float32[batch,4]")
    names = ("first", "second", "more")
    candidate, _ = _match(Blend(), _graph(dict.fromkeys(names[:2], ("batch", 4)), "output"), *declared)
    (note,) = candidate.notes
    assert note == "the file has no input ignored: its outputs were held against the module's whatever ignored was"
    candidate, _ = _match(Heads(), _graph({"x": ("N", 4), "y": ("N", 9)}, "a", "b"), "x=float32[batch,4]")
    assert candidate.failures == ("the file has the input y, which the module lacks",)


def test_integers_and_dims_that_nothing_describes_get_a_sentence() -> None:
    """Nobody can guess which are legal; the sentence shows how to say it."""
    with pytest.raises(InputsError, match="takes integers, and nothing says which are legal"):
        _match(Heads(), _graph({"x": ("N", 4)}, "a", "b", dtype="int64"))
    with pytest.raises(InputsError, match="has the dynamic dimension length, and nothing says a size"):
        _match(Heads(), _graph({"x": ("N", "length")}, "a", "b"))


def test_equal_inputs_are_chosen_once() -> None:
    """So that the module's answers serve one file after another."""
    model = Heads().eval()
    matcher = Matcher(resolve(ExportSpec(model=model, name="tiny")), model, declared=False)
    first, second, fixed = (
        matcher.match(_graph({name: (batch, 4)}, "a", "b"))[1] for name, batch in (("x", "N"), ("z", "N"), ("x", 2))
    )
    assert first is second
    assert first is not fixed


def test_a_formula_of_the_file_is_a_formula() -> None:
    """As torch.export writes it, if it names dims of the file; a sample says the sizes."""
    graph = _graph({"x": ("N", "past"), "y": ("N", "2*past + N")}, "output")
    _, inputs = _match(Two(), graph, "x=float32[N,past=3]", "y=float32[N,m=8]")
    assert [str(spec) for spec in inputs.specs] == ["x=float32[N=2,past=3]", "y=float32[N=2,m=8]"]
    assert _formula("2*past + N") == Dim(name="2*past+N", formula="2*past+N")
    assert [_formula(text) for text in ("past", "floor(past/2)", "past - 1", "?", "")] == [None] * 5


def test_sizes_that_a_file_leaves_open_are_the_sample_s(tmp_path: Path) -> None:
    """Of a catalog entry's inputs, too, which may leave them out."""
    sample = sample_file(tmp_path, x=np.zeros((2, 3), "float32"), y=np.zeros((2, 8), "float32"))
    spec = resolve(ExportSpec(model=Two(), inputs=("x=float32[N,a]", "y=float32[N,b]"), sample=sample))
    graph = _graph({"x": ("N", "a"), "y": ("N", "2*a + N")}, "output")
    _, inputs = Matcher(spec, Two(), declared=False).match(graph)
    assert [str(spec) for spec in inputs.specs] == ["x=float32[N=2,a=3]", "y=float32[N=2,2*a+N]"]
