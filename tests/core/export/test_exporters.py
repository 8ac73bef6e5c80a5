"""Each of PyTorch's exporters gives what was asked for, or one sentence says what it did not."""

import onnx
import onnx_ir as ir
import pytest
import torch
from torch import nn

from tasks.core.errors import ExportError, NarrowedError
from tasks.core.export.exporters import run_exporter
from tasks.core.export.torch_exporters import Exported, unparsed_operators
from tasks.core.inputs.choice import choose_inputs
from tasks.core.onnx_files.reading import tensor_types
from tasks.core.spec.export_spec import ExportSpec
from tasks.core.spec.resolve import resolve

EXPORTERS = pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
X = "x=float32[batch,4]"


class Layer(nn.Module):
    """A layer; what else happens is said by subclasses."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """A row for each row."""
        return self.layer(x)  # type: ignore[no-any-return]


class Unused(Layer):
    """Takes an input that it does not use."""

    def forward(self, x: torch.Tensor, unused: torch.Tensor) -> torch.Tensor:
        """The first input alone."""
        return super().forward(x)


class Sum(Layer):
    """Adds up two inputs."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The sum, which needs equal sizes."""
        return super().forward(x) + y


class SmallBatches(Layer):
    """Computes something else from batches of 5."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Negative for small batches."""
        return -super().forward(x) if x.shape[0] < 5 else super().forward(x)


class FixedBatch(Layer):
    """Has the batch as a constant."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Rows of the size that was seen first."""
        return super().forward(x).reshape(int(x.shape[0]), 4)


class Sign(Layer):
    """Takes a branch by the values of its input."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Negative for negative sums."""
        return -super().forward(x) if x.sum() < 0 else super().forward(x)


class Raises(Layer):
    """Runs, but can't be exported."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Nothing but a reason while it is exported."""
        if torch.compiler.is_exporting() or torch.jit.is_tracing():
            raise ValueError("two\nlines of reasons")
        return super().forward(x)


class Attention(nn.Module):
    """A layer for which PyTorch has a fused kernel in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Attend."""
        return self.layer(x)  # type: ignore[no-any-return]


def _run(exporter: str, model: nn.Module, *inputs: str, names: tuple[str, ...] = ("y",), opset: int = 20) -> Exported:
    chosen = choose_inputs(resolve(ExportSpec(model=model.eval(), inputs=inputs or (X,))), model)
    return run_exporter(exporter, model, chosen, output_names=names, opset=opset)  # type: ignore[arg-type]


@EXPORTERS
def test_names_dims_and_opset_are_those_asked_for(exporter: str, capfd: pytest.CaptureFixture[str]) -> None:
    """The graph is valid, and the exporter says nothing beside it."""
    graph = _run(exporter, Layer()).graph
    onnx.checker.check_model(ir.to_proto(graph), full_check=True)
    (x,), (y,) = tensor_types(graph.graph.inputs), tensor_types(graph.graph.outputs)
    assert (str(x), y.name) == ("x: float32[batch, 4]", "y")
    assert graph.opset_imports[""] == 20
    assert set(graph.graph.initializers) >= {"layer.bias"}
    assert capfd.readouterr() == ("", "")


def test_an_input_that_was_dropped_is_named() -> None:
    """The older exporter leaves out what the graph does not use; the newer one keeps it."""
    with pytest.raises(ExportError, match="dropped unused, which the graph does not use"):
        _run("torchscript", Unused(), X, "unused=float32[batch,4]")
    kept = _run("dynamo", Unused(), X, "unused=float32[batch,4]").graph
    assert [value.name for value in kept.graph.inputs] == ["x", "unused"]


def test_a_narrowed_dim_tells_the_sizes_next_to_it() -> None:
    """A branch on a size is refused with the size from which the graph would be wrong."""
    with pytest.raises(NarrowedError, match=r"dynamo narrowed batch of x to \d+\.\.4") as refused:
        _run("dynamo", SmallBatches(), "x=float32[batch=2:1..64,4]")
    assert refused.value.beyond == {"batch": (5,)}


def test_a_frozen_dim_is_named() -> None:
    """A size that forward turned into a number is no dynamic dim of the graph."""
    with pytest.raises(ExportError, match=r"froze batch of x at \d|specialized|constant"):
        _run("dynamo", FixedBatch(), "x=float32[batch=3,4]")


def test_dims_that_must_be_equal_are_noted() -> None:
    """Two names for one size are exported, and a note says so."""
    assert _run("dynamo", Sum(), "x=float32[a=3,4]", "y=float32[b=3,4]").notes == ("a and b must be equal",)


def test_a_branch_on_values_is_noted_where_it_is_traced() -> None:
    """Tracing froze one side; exporting with torch.export does not give a graph at all."""
    exported = _run("torchscript", Sign())
    assert [note.partition(" at test_exporters.py:")[0] for note in exported.notes] == ["tracing froze a Python value"]
    assert [line.partition(":")[0] for line in exported.branches] == ["test_exporters.py"]
    with pytest.raises(ExportError, match="dynamo failed with"):
        _run("dynamo", Sign())


@EXPORTERS
def test_what_the_module_raises_is_one_line(exporter: str) -> None:
    """The innermost cause, not the exporter's pages of advice."""
    with pytest.raises(ExportError, match=rf"^{exporter} failed with \w+: two") as refused:
        _run(exporter, Raises())
    assert "\n" not in str(refused.value)


@EXPORTERS
def test_output_names_that_do_not_fit_are_refused(exporter: str) -> None:
    """A label too many for what forward returns ends in a sentence."""
    with pytest.raises(ExportError, match=exporter):
        _run(exporter, Layer(), names=("y", "z"))


@EXPORTERS
def test_attention_is_exported_as_operators(exporter: str) -> None:
    """The fused kernel is off while exporting, and on again afterwards."""
    assert torch.backends.mha.get_fastpath_enabled()
    graph = _run(exporter, Attention(), "x=float32[batch,length=5,8]").graph
    assert "Softmax" in {node.op_type for node in graph.graph}
    assert torch.backends.mha.get_fastpath_enabled()


def test_domains_of_operators_are_known_without_their_sources() -> None:
    """What the export leaves out gives the same domains, name by name."""
    from onnxscript._framework_apis.torch_2_5 import get_torchlib_ops

    with unparsed_operators():
        quick = [(op.qualified_name, op.domain, op.name) for op in get_torchlib_ops()]
    assert quick == [(op.qualified_name, op.domain, op.name) for op in get_torchlib_ops()]
    assert len(quick) > 400
