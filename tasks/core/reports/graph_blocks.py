"""The nodes of a file in blocks, by the PyTorch module that they come from."""

import ast
import contextlib
import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import onnx

from tasks.core.onnx_files.lazy_reading import read_without_weights
from tasks.core.onnx_files.operators import counts_in
from tasks.core.onnx_files.reading import SCOPES, inputs_of

MAX_BLOCKS = 40
"""More can't be read as a picture."""
_MAX_DEPTH = 6


@dataclass
class Block:
    """Nodes that come from one PyTorch module, or from its parent's own code."""

    path: str
    """Of the module, as `named_modules` gives it; empty: the model's own forward."""
    operators: Counter[str] = field(default_factory=Counter)
    size_bytes: int = 0
    """Of the weights that its nodes take."""
    sources: set[int] = field(default_factory=set)
    """Indices of the blocks whose values it takes; -1: an input of the file."""

    @property
    def num_nodes(self) -> int:
        """Of the file's top-level graph."""
        return self.operators.total()


@dataclass(frozen=True)
class Blocks:
    """A file's top-level graph in blocks, in the order in which they run."""

    blocks: list[Block]
    ends: set[int]
    """Indices of the blocks that give an output of the file."""
    operators: Counter[str]
    """Of the whole file, branches, loops and functions among it."""


def blocks_of(path: Path) -> Blocks:
    """Group a file's nodes by module path, as deep as leaves no more blocks than a picture can show."""
    proto: Any = read_without_weights(path)
    graph = proto.graph
    keys = _keys(graph.node)
    sizes = {tensor.name: _size_bytes(tensor) for tensor in graph.initializer}
    blocks: list[Block] = []
    producer = dict.fromkeys((value.name for value in graph.input if value.name not in sizes), -1)
    for node, key in zip(graph.node, keys, strict=True):
        if not blocks or blocks[-1].path != key:
            blocks.append(Block(key))
        block, index = blocks[-1], len(blocks) - 1
        block.operators[node.op_type] += 1
        for name in inputs_of(node):
            block.size_bytes += sizes.pop(name, 0)  # once, however many nodes take it
            if producer.get(name, index) != index:
                block.sources.add(producer[name])
        producer.update(dict.fromkeys(node.output, index))
    ends = {producer[value.name] for value in graph.output if value.name in producer}
    return Blocks(blocks, ends, counts_in(proto))


def _keys(nodes: Sequence[Any]) -> list[str]:
    """A key a node: its module's path, cut so that few enough of them follow each other."""
    paths: list[str] = []
    for node in reversed(nodes):  # what says nothing of its module, such as a constant, stands with what follows it
        known = _module_path(node)
        paths.append(known if known is not None else paths[-1] if paths else "")
    for depth in range(_MAX_DEPTH, 0, -1):
        keys = [".".join(path.split(".")[:depth]) for path in reversed(paths)]
        if len(list(itertools.groupby(keys))) <= MAX_BLOCKS:
            return keys
    return [""] * len(nodes)


def _module_path(node: Any) -> str | None:
    """Path of the module whose forward made a node: from its metadata, else from the name that TorchScript gives."""
    scopes = next((entry.value for entry in node.metadata_props if entry.key == SCOPES), "")
    with contextlib.suppress(ValueError, SyntaxError, TypeError):  # what others write there is no list
        modules = ast.literal_eval(scopes)[:-1]  # the last one is the call itself
        if modules and not modules[0]:
            return str(modules[-1])
    return _path_in_name(node.name.strip("/").split("/")[:-1]) if node.name.startswith("/") else None


def _path_in_name(parts: Sequence[str]) -> str:
    """`layer1`, `layer1.0`, `conv1` is `layer1.0.conv1`."""
    path = ""
    for part in parts:
        path = part if not path or part.startswith(f"{path}.") else f"{path}.{part}"
    return path


def _size_bytes(tensor: Any) -> int:
    known = onnx.helper.tensor_dtype_to_np_dtype
    return prod(tensor.dims) * int(known(tensor.data_type).itemsize) if tensor.data_type else 0
