"""The operators that a file is made of."""

from collections import Counter
from pathlib import Path
from typing import Any

import onnx_ir as ir

from tasks.core.onnx_files.lazy_reading import read_without_weights


def operator_counts(path: Path) -> Counter[str]:
    """Number of nodes by operator, those in branches, loops and functions among them; with its domain if not ONNX's."""
    return counts_in(read_without_weights(path))


def counts_in(proto: Any) -> Counter[str]:
    """The same of a ModelProto that was read."""
    model = ir.from_proto(proto)
    graphs: list[ir.Graph | ir.Function] = [model.graph, *model.functions.values()]
    return Counter(
        f"{node.domain}::{node.op_type}" if node.domain else node.op_type
        for graph in graphs
        for node in graph.all_nodes()
    )
