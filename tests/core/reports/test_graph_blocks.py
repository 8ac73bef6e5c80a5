"""The nodes of a file stand in blocks by the PyTorch module that they come from, whichever exporter wrote it."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tasks.core.onnx_files.reading import SCOPES
from tasks.core.reports.graph_blocks import MAX_BLOCKS, blocks_of


def write(path: Path, *nodes: onnx.NodeProto, outputs: tuple[str, ...]) -> Path:
    """A file with input `x` and a weight `w` of 12 float32."""
    weight = numpy_helper.from_array(np.zeros((3, 4), np.float32), "w")
    value = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [3, 4])
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [3, 4]) for name in outputs]
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", [value], ends, [weight])), path)
    return path


def node(op_type: str, inputs: str, output: str, scopes: list[str] | None = None, name: str = "") -> onnx.NodeProto:
    """A node, with the scopes that the dynamo exporter writes or the name that TorchScript's gives."""
    made = helper.make_node(op_type, inputs.split(), [output], name=name)
    if scopes is not None:
        made.metadata_props.add(key=SCOPES, value=str([*scopes, "call"]))
    return made


def test_blocks_of_a_dynamo_file(tmp_path: Path) -> None:
    """Each module is a block with its operators, weights and sources; a node without a module stands with the next."""
    path = write(
        tmp_path / "m.onnx",
        node("Relu", "x", "a", ["", "stem", "stem.0"]),
        node("Identity", "a", "i"),
        node("Add", "i w", "b", ["", "body"]),
        node("Mul", "b w", "c", ["", "body"]),
        node("Add", "c a", "d", [""]),
        outputs=("d", "b"),
    )
    found = blocks_of(path)
    assert [(block.path, block.operators, block.size_bytes, block.sources) for block in found.blocks] == [
        ("stem.0", Counter(Relu=1), 0, {-1}),
        ("body", Counter(Identity=1, Add=1, Mul=1), 48, {0}),
        ("", Counter(Add=1), 0, {0, 1}),
    ]
    assert found.ends == {1, 2}
    assert found.operators == Counter(Add=2, Relu=1, Identity=1, Mul=1)


def test_blocks_of_a_torchscript_file(tmp_path: Path) -> None:
    """Names of nodes give the paths; the model's own forward is a block without a path."""
    path = write(
        tmp_path / "m.onnx",
        node("Relu", "x", "a", name="/layer1/layer1.0/conv1/Relu"),
        node("Add", "a w", "b", name="/Add"),
        outputs=("b",),
    )
    assert [block.path for block in blocks_of(path).blocks] == ["layer1.0.conv1", ""]


def test_what_others_write_is_no_path(tmp_path: Path) -> None:
    """Metadata that are no list, or scopes that begin elsewhere than at the model, name no module."""
    odd, hook = node("Relu", "x", "a"), node("Relu", "a", "b", ["a_hook"])
    odd.metadata_props.add(key=SCOPES, value="not a (list")
    path = write(tmp_path / "m.onnx", odd, hook, node("Add", "b w", "c", ["", "head"]), outputs=("c",))
    assert [(block.path, block.num_nodes) for block in blocks_of(path).blocks] == [("head", 3)]


def test_large_graphs_are_cut_at_a_depth_that_can_be_read(tmp_path: Path) -> None:
    """Of 3,000 nodes in as many modules their parents are shown; where even those interleave, one block."""
    names = ["x", *(f"v{index}" for index in range(3000))]
    deep = [
        node("Relu", names[i], names[i + 1], ["", "layers", f"layers.{i // 100}", f"layers.{i // 100}.m{i}"])
        for i in range(3000)
    ]
    found = blocks_of(write(tmp_path / "deep.onnx", *deep, outputs=(names[-1],)))
    assert [block.path for block in found.blocks] == [f"layers.{index}" for index in range(30)]
    mixed = [node("Relu", names[i], names[i + 1], ["", f"m{i % 2}"]) for i in range(3000)]
    found = blocks_of(write(tmp_path / "mixed.onnx", *mixed, outputs=(names[-1],)))
    assert len(found.blocks) == 1 <= MAX_BLOCKS
    assert found.blocks[0].num_nodes == 3000
