"""A file that somebody else made has every side of the module's branches on values, or does not pass."""

from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import nn

from tasks.core.inputs.choice import choose_inputs
from tasks.core.onnx_files.reading import read_graph
from tasks.core.proof.validation import validate
from tasks.core.records.evidence import Evidence
from tasks.core.records.steps import Candidate
from tasks.core.reference.reference import Reference
from tasks.core.spec.export_spec import ExportSpec
from tasks.core.spec.resolve import resolve
from tests.core.proof.proving import exported
from tests.field.test_control_flow import Signed

ORDINARY = "x=float32[batch,6]"
BOTH_SIDES = f"{ORDINARY}@0..110"
"""Zeros take one side, other values of the range take the other."""


class Pixels(nn.Module):
    """Are the values pixels of 0..255? Ordinary inputs take one side."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(6, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores."""
        if x.max() > 100:
            x = x / 255.0
        return self.layer(x)  # type: ignore[no-any-return]


class Selected(Pixels):
    """The same without a branch."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores."""
        return self.layer(torch.where(x.max() > 100, x / 255.0, x))  # type: ignore[no-any-return]


class Scripted(Pixels):
    """The same with the branch in a scripted function, which is exported as `If`."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores."""
        return self.layer(_scaled(x))  # type: ignore[no-any-return]


@torch.jit.script
def _scaled(x: torch.Tensor) -> torch.Tensor:
    if bool(x.max() > 100):
        x = x / 255.0
    return x


class Checked(Pixels):
    """Refuses what it can't take."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores."""
        if x.isnan().any():
            raise ValueError("NaN")
        assert not x.isinf().any()
        return self.layer(x)  # type: ignore[no-any-return]


class Rounds(Pixels):
    """As many steps as a value says."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores."""
        for _ in range(1 + int(x.max() > 1e6)):
            x = torch.tanh(x)
        return self.layer(x)  # type: ignore[no-any-return]


class Item(Pixels):
    """Compares in Python."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores."""
        peak = x.max().item()
        return self.layer(x / 255.0 if peak > 100 else x)  # type: ignore[no-any-return]


class Steps(Pixels):
    """As many steps as a value says."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores."""
        for _ in range(int(x.max())):
            x = torch.tanh(x)
        return self.layer(x)  # type: ignore[no-any-return]


class EachRow(Pixels):
    """Once for each row that is selected."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores."""
        for row in x[x.amax(1) > 100]:
            x = torch.tanh(x + row)
        return self.layer(x)  # type: ignore[no-any-return]


class Columns(Pixels):
    """The columns of the rows that are selected, of which there are always as many."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores, and the sums of three columns."""
        first, second, third, *_ = x[x[:, 0] > 0].T
        return self.layer(x) + (first.sum() + second.sum() + third.sum())  # type: ignore[no-any-return]


class AllShown(Pixels):
    """Takes no mask that hides nothing: both sides compute the same."""

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Scores."""
        return self.layer(x if mask.all() else x * mask[:, None])  # type: ignore[no-any-return]


class InALargeBatch(Pixels):
    """Branches on values where a trace of a small batch does not see it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores."""
        if x.shape[0] > 4 and x.max() > 100:
            x = x / 255.0
        return self.layer(x)  # type: ignore[no-any-return]


class BySize(Pixels):
    """Branches on sizes, which probes at other sizes show."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores."""
        return self.layer(x if len(x) > 0 else x + 1)  # type: ignore[no-any-return]


def _verified(model: nn.Module, file: Path, text: str) -> Evidence:
    spec = resolve(ExportSpec(model=model, name="tiny", inputs=(text,)))
    reference = Reference(model.eval(), choose_inputs(spec, model))
    return validate(Candidate(read_graph(file)), reference).evidence


def _traced(model: nn.Module, path: Path, *, values: float = 1.0) -> Path:
    options: dict[str, Any] = {"input_names": ["x"], "output_names": ["output"], "opset_version": 17, "dynamo": False}
    example = (torch.rand(2, 6) * values,)
    torch.onnx.export(model.eval(), example, str(path), dynamic_axes={"x": {0: "batch"}}, **options)
    return path


def _looped(path: Path) -> Path:
    """A file of `Steps` with a Loop."""
    model = onnx.parser.parse_model("""<ir_version: 9, opset_import: ["" : 20]>
    steps (float[batch, 6] x) => (float[batch, 5] output) <bool yes = {1}> {
        peak = ReduceMax<keepdims = 0>(x)
        num = Cast<to = 7>(peak)
        y = Loop(num, yes, x) <body = step (int64 i, bool go, float[batch, 6] a) => (bool on, float[batch, 6] b) {
            on = Identity(go)
            b = Tanh(a)
        }>
        output = Gemm<transB = 1>(y, weight, bias)
    }""")
    for name, tensor in Steps().layer.named_parameters():
        model.graph.initializer.append(onnx.numpy_helper.from_array(tensor.detach().numpy(), name))
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("kind", [Pixels, Rounds, EachRow, InALargeBatch])
def test_a_frozen_side_is_a_doubt(kind: type[nn.Module], tmp_path: Path) -> None:
    """Where no probe takes the other one; the line is named."""
    evidence = _verified(kind(), _traced(kind(), tmp_path / "traced.onnx"), ORDINARY)
    assert evidence.verdict == "inconclusive"
    assert "branches on values at test_value_branches.py:" in evidence.reasons[0]


def test_a_frozen_side_fails_where_probes_take_the_other(tmp_path: Path) -> None:
    """The file is wrong there."""
    assert _verified(Pixels(), _traced(Pixels(), tmp_path / "traced.onnx"), BOTH_SIDES).verdict == "fail"


@pytest.mark.parametrize("kind", [Selected, Scripted])
def test_a_file_with_both_sides_passes_where_probes_take_both(kind: type[nn.Module], tmp_path: Path) -> None:
    """Whether it has a branch or selects."""
    evidence = _verified(Pixels(), _traced(kind(), tmp_path / "both.onnx"), BOTH_SIDES)
    assert evidence.verdict == "pass", evidence.reasons


@pytest.mark.parametrize("kind", [Selected, Scripted])
def test_a_file_with_both_sides_is_doubted_where_probes_take_one(kind: type[nn.Module], tmp_path: Path) -> None:
    """What it has on the other side was not held against the module."""
    evidence = _verified(Pixels(), _traced(kind(), tmp_path / "both.onnx"), ORDINARY)
    assert evidence.verdict == "inconclusive"


@pytest.mark.parametrize("kind", [Checked, BySize, Columns])
def test_checks_and_sizes_are_no_branches_on_values(kind: type[nn.Module], tmp_path: Path) -> None:
    """An `if` that only raises has no other side; sizes are probed."""
    evidence = _verified(kind(), _traced(kind(), tmp_path / "traced.onnx"), ORDINARY)
    assert evidence.verdict == "pass", evidence.reasons


@pytest.mark.parametrize(("text", "verdict"), [(f"{ORDINARY}@0..3", "pass"), (f"{ORDINARY}@0.2..0.8", "inconclusive")])
def test_a_number_of_steps_is_kept_by_a_loop(text: str, verdict: str, tmp_path: Path) -> None:
    """A true file passes where the number differs from probe to probe."""
    evidence = _verified(Steps(), _looped(tmp_path / "loop.onnx"), text)
    assert evidence.verdict == verdict, evidence.reasons


def test_an_item_that_is_compared_in_python_is_a_doubt(tmp_path: Path) -> None:
    """Its value differs in each run, which says nothing of what Python makes of it."""
    evidence = _verified(Item(), _traced(Item(), tmp_path / "traced.onnx"), ORDINARY)
    assert evidence.verdict == "inconclusive"


def test_an_export_of_a_side_that_serves_both_passes(tmp_path: Path) -> None:
    """As the probes take both; a number that tracing froze is a doubt, whatever else the file has."""
    inputs = ("x=float32[batch,6]", "mask=bool[batch]")
    evidence = exported(AllShown(), inputs, tmp_path, exporter="torchscript").prove()
    assert evidence.verdict == "pass", evidence.reasons
    evidence = exported(Item(), (ORDINARY,), tmp_path, exporter="torchscript").prove()
    assert evidence.verdict == "inconclusive"


@pytest.mark.slow
def test_a_file_of_torch_cond_passes(tmp_path: Path) -> None:
    """Its `If` answers the module's branch."""
    file = exported(Signed(), (ORDINARY,), tmp_path)
    evidence = _verified(Signed(), file.graph.path, ORDINARY)
    assert evidence.verdict == "pass", evidence.reasons
