"""Metadata without anything private, labels and names of dims, in every part of a model; smaller and valid graphs."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from tasks.core.export.exporters import run_exporter
from tasks.core.inputs.choice import choose_inputs
from tasks.core.onnx_files.cleaning import clean_metadata, label_parameters, name_output_dims, unvaried_dims
from tasks.core.onnx_files.writing import write
from tasks.core.spec.export_spec import ExportSpec
from tasks.core.spec.resolve import resolve
from tests.models.tiny_models import Classifier

PRIVATE = "/home/builder/secret"
TRACE = f'File "{PRIVATE}/model.py", line 7, in forward\n  File "<eval_with_key>.5", line 1, in forward'


def _messages(message: Any) -> Iterator[Any]:
    """A protobuf message and all messages in it."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in value if field.is_repeated else (value,):
                yield from _messages(inner)


def _model() -> onnx.ModelProto:
    """Calls a function whose body has a branch; every message in it tells of the builder's file system."""
    condition = helper.make_tensor_value_info("condition", TensorProto.BOOL, [])
    x, y, z, inner = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("x", "y", "z", "inner"))
    weight = numpy_helper.from_array(torch.ones(2).numpy(), "w")
    constant = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(torch.ones(2).numpy(), "c"))
    then = helper.make_graph([helper.make_node("Add", ["f_x", "w"], ["inner"])], "then", [], [inner], [weight])
    empty = helper.make_graph([], "else", [], [helper.make_tensor_value_info("f_x", TensorProto.FLOAT, [2])])
    branch = helper.make_node("If", ["f_condition"], ["f_y"], then_branch=then, else_branch=empty)
    function = helper.make_function(
        "own", "F", ["f_condition", "f_x"], ["f_y"], [branch], [helper.make_opsetid("", 20)],
        attribute_protos=[helper.make_attribute("alpha", 1.0)], value_info=[x],
    )  # fmt: skip
    nodes = [constant, helper.make_node("F", ["condition", "x"], ["y"], domain="own")]
    graph = helper.make_graph(
        [*nodes, helper.make_node("Add", ["y", "c"], ["z"])], "main", [condition, x], [z], value_info=[y]
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("own", 1)]
    model = helper.make_model(graph, opset_imports=opsets, functions=[function], ir_version=10)
    for message in _messages(model):
        fields = message.DESCRIPTOR.fields_by_name
        if "doc_string" in fields:
            message.doc_string = PRIVATE
        if "metadata_props" in fields:
            message.metadata_props.add(key="note", value=PRIVATE)
        if isinstance(message, onnx.NodeProto):
            message.metadata_props.add(key="pkg.torch.onnx.stack_trace", value=TRACE)
            message.metadata_props.add(key="pkg.torch.onnx.name_scopes", value="['', 'layer']")
    return model


def test_only_module_paths_and_relative_source_lines_stay() -> None:
    """In functions, branches, values and tensors, too, there is no other metadata, doc string or absolute path."""
    model = ir.from_proto(_model())
    clean_metadata(model)
    proto = ir.to_proto(model)
    kept = {"pkg.torch.onnx.name_scopes": "['', 'layer']", "assay.source": "model.py:7"}
    for message in _messages(proto):
        assert not getattr(message, "doc_string", "")
        found = {entry.key: entry.value for entry in getattr(message, "metadata_props", ())}
        assert found == (kept if isinstance(message, onnx.NodeProto) else {})
    assert PRIVATE.encode() not in proto.SerializeToString()
    assert sum(isinstance(message, onnx.NodeProto) for message in _messages(proto)) == 5


class Branches(nn.Module):
    """Takes one of two ways by its input's values."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """A layer, or its negation."""
        return torch.cond(x.sum() > 0, lambda x: self.layer(x).relu(), lambda x: -self.layer(x), (x,))  # type: ignore[no-any-return]


def test_a_file_with_branches_holds_no_path(tmp_path: Path) -> None:
    """An export of torch.cond tells neither the builder's paths nor names of code that exists for one process only."""
    model = Branches().eval()
    inputs = choose_inputs(resolve(ExportSpec(model=model, inputs=("x=float32[batch,4]",))), model)
    graph = run_exporter("dynamo", model, inputs, output_names=("y",), opset=20).graph
    clean_metadata(graph)
    write(graph, tmp_path / "model.onnx")
    proto = onnx.load(tmp_path / "model.onnx")
    nodes = [message for message in _messages(proto) if isinstance(message, onnx.NodeProto)]
    assert "If" in {node.op_type for node in nodes}
    assert not any(getattr(message, "doc_string", "") for message in _messages(proto))
    texts = [entry.value for message in _messages(proto) for entry in getattr(message, "metadata_props", ())]
    assert any(text.startswith("test_cleaning.py:") for text in texts)
    assert not [text for text in texts if re.search(r"(^|[\"' ])/|<eval", text)]


def test_nothing_of_the_builders_machine_stays(graph: ir.Model, tmp_path: Path) -> None:
    """No path, no stack trace; the module path of each node and one line of its source stay."""
    clean_metadata(graph)
    write(graph, tmp_path / "model.onnx")
    content = (tmp_path / "model.onnx").read_bytes()
    for private in (b"site-packages", b"stack_trace", str(Path(torch.__file__).parents[2]).encode(), b'File "'):
        assert private not in content
    names = [n.name + str(dict(n.metadata_props)) for n in graph.graph]
    assert any("tiny_models.py:" in name or "conv" in name for name in names)


def test_labels_follow_the_order_of_the_parameters(tmp_path: Path) -> None:
    """The i-th label names the i-th parameter, and the file stays valid; what the graph does not hold is left out."""
    model = Classifier().eval()
    inputs = choose_inputs(resolve(ExportSpec(model=model, inputs=("image=float32[batch,3,8,8]",))), model)
    graph = run_exporter("torchscript", model, inputs, output_names=("scores",), opset=20).graph
    parameters = [name for name, _ in model.named_parameters()]
    labels = {f"learned_{i}": name for i, name in enumerate(parameters)}
    assert label_parameters(graph, {**labels, "further": "lost"}) == labels
    write(graph, tmp_path / "model.onnx")
    onnx.checker.check_model(tmp_path / "model.onnx", full_check=True)


@pytest.mark.parametrize(
    ("shapes", "dims"),
    [
        ([(2, 10, 7), (3, 10, 7)], ["batch", 10, "y_2"]),
        ([(10, 10, 10), (12, 10, 10)], ["length", 10, "y_2"]),
        ([(4, 10, 2), (6, 10, 3)], ["y_0", 10, "batch"]),
    ],
)
def test_output_dims_are_called_as_the_input_dims_that_they_follow(
    shapes: list[tuple[int, ...]], dims: list[int | str]
) -> None:
    """What follows none of them, or did not vary, gets a name of its own; fixed dims stay."""
    y = ir.Value(name="y", shape=ir.Shape(["s0", 10, "s1"]), type=ir.TensorType(ir.DataType.FLOAT))
    model = ir.Model(ir.Graph([], [y], nodes=[], opset_imports={"": 20}), ir_version=10)
    sizes = ({"batch": 2, "length": 10}, {"batch": 3, "length": 12})
    name_output_dims(model, [(size, [shape]) for size, shape in zip(sizes, shapes, strict=True)])
    assert [getattr(dim, "value", dim) for dim in y.shape] == dims


def test_output_dims_that_never_varied_are_told() -> None:
    """Where each input dim did; those that are known to be fixed then have a number."""
    y = ir.Value(name="y", shape=ir.Shape(["s0", 10, "s1"]), type=ir.TensorType(ir.DataType.FLOAT))
    model = ir.Model(ir.Graph([], [y], nodes=[], opset_imports={"": 20}), ir_version=10)
    observed = [({"batch": size, "n": size + 2}, [(size, 10, 7)]) for size in (2, 3)]
    assert unvaried_dims(model, observed) == {(0, 2): 7}
    assert unvaried_dims(model, [({"batch": 2, "n": 4}, [(2, 10, 7)]), ({"batch": 3, "n": 4}, [(3, 10, 7)])]) == {}
    name_output_dims(model, observed, {(0, 2): 7})
    assert [getattr(dim, "value", dim) for dim in y.shape or ()] == ["batch", 10, 7]


class TwoSplits(nn.Module):
    """Each split is traced as a loop with the same body."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The parts again, put together."""
        first, second = (torch.tensor_split(value, indices=(1,), dim=1) for value in (x, x.relu()))
        return torch.cat([*first, *second], dim=1)


def test_bodies_of_loops_compute_their_outputs_themselves() -> None:
    """Two loops that are alike outside are simplified without one body giving a value of the graph around it."""
    model = TwoSplits().eval()
    inputs = choose_inputs(resolve(ExportSpec(model=model, inputs=("x=float32[batch,5,8]",))), model)
    graph = run_exporter("torchscript", model, inputs, output_names=("parts",), opset=20).graph
    onnx.checker.check_model(ir.to_proto(graph), full_check=True)
    bodies = [node.attributes["body"].as_graph() for node in graph.graph if node.op_type == "Loop"]
    assert len(bodies) == 2
    assert all(value.producer() in list(body) for body in bodies for value in body.outputs)
