"""The node that makes a file wrong, or of which ONNX Runtime's optimisation makes something else, described."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch import nn

from tasks.core.arrays import Array, rms
from tasks.core.forward.fixed_values import weights_of
from tasks.core.localisation.file_values import FileValues
from tasks.core.localisation.onnx_graph import OnnxGraph
from tasks.core.onnx_files.lazy_reading import values
from tasks.core.records.evidence import Blame, Values

_NUM_SHOWN = 8


@dataclass(frozen=True)
class Defect:
    """A wrong node of a file, and what it takes to reproduce its error."""

    blame: Blame
    graph: OnnxGraph
    nodes: tuple[int, ...]
    """Its index in the graph, last; before it those without which an optimiser's pass does no harm."""
    inputs: Mapping[str, Array]
    """The arrays that the nodes take in the file, by name."""
    output: str
    """Name of its wrong output."""
    expected: Array | None
    """What that should be, as the module computes it in float64, rounded to float32, or the file without optimisation;
    None: not known."""


def describe(network: nn.Module, file: FileValues, index: int, *, kind: str, number: int | None) -> Defect:
    """Describe a wrong node: its module, its line in forward, what is wrong with it, and by how much.

    Args:
        network: the module.
        file: the file's values on the probe at which it is wrong.
        index: of the node.
        kind: node, wiring or output.
        number: of the module's value that the node should compute; None: not known.
    """
    graph, traced = file.graph, file.traced
    modules = dict(network.named_modules())
    call = None if number is None else traced.trace.call_of(number)
    path = _nearest_path(graph, index, modules)
    if path is None:
        path = call.module_path if call else ""
    output = file.wrong_output(index)
    found = file.values.get(output)
    expected = None if number is None else traced.whole(number)
    parameter = other_parameter(network, graph, index) if kind == "node" else ""
    blame = Blame(
        node=graph.label(index),
        op_type=graph.nodes[index].op_type,
        module_path=path,
        module_class=type(modules[path]).__name__ if path in modules else "",
        source=call.source if call is not None else "",
        kind="weights" if parameter else kind,
        parameter=parameter,
        own_ratio=float("inf") if found is None or number is None else traced.ratio(found, number),
        found=_in_short(found, expected),
        expected=_in_short(expected, found),
        sentence="",
    )
    said = file.said if index == file.stopped else ""
    blame = blame.model_copy(update={"sentence": _sentence(blame, said)})
    return Defect(blame, graph, (index,), inputs=file.inputs_of(index), output=output, expected=expected)


def of_optimiser(
    network: nn.Module, graph: OnnxGraph, found: tuple[list[int], str], *, values: Mapping[str, Array], blame: Blame
) -> Defect:
    """Describe the few nodes of which a pass of ONNX Runtime's optimisation makes something else.

    Args:
        network: the module.
        graph: the file.
        found: indices of the nodes, and the name of the value that is wrong.
        values: those of the file without optimisation, by name.
        blame: what is known of the passes.
    """
    nodes, output = found
    modules = dict(network.named_modules())
    path = _nearest_path(graph, nodes[-1], modules) or ""
    op_types = [graph.nodes[index].op_type for index in nodes]
    known = {
        "node": graph.label(nodes[-1]),
        "op_type": op_types[-1],
        "module_path": path,
        "module_class": type(modules[path]).__name__ if path in modules else "",
        "expected": _in_short(values[output], None),
    }
    blame = blame.model_copy(update=known)
    module = f"{path} ({blame.module_class})" if path else "forward itself"
    said = (
        f"{blame.node} gives another value after {' and '.join(blame.passes)} of level {blame.level} "
        f"({', '.join(op_types)}); in PyTorch that is {module}"
    )
    blame = blame.model_copy(update={"sentence": said})
    return Defect(blame, graph, tuple(nodes), inputs=values, output=output, expected=values[output])


def _nearest_path(graph: OnnxGraph, index: int, modules: dict[str, nn.Module]) -> str | None:
    """Path of the module that the file's metadata gives for a node, else for the nearest node that has one."""
    near, seen = [index], {index}
    for other in near:
        path = graph.module_path(other, modules)
        if path is not None:
            return path
        before = [graph.producer[name] for name in graph.data_inputs(other) if name in graph.producer]
        after = [consumer for name in graph.nodes[other].output for consumer in graph.consumers.get(name, ())]
        near += [node for node in (*before, *after) if node not in seen]
        seen.update(near)
    return None


def other_parameter(network: nn.Module, graph: OnnxGraph, index: int) -> str:
    """Name of a parameter of the module that a node has under this name with other values; empty: of none.

    Args:
        network: the module.
        graph: of the file.
        index: of the node.
    """
    modules = dict(network.named_modules())
    own = modules.get(_nearest_path(graph, index, modules) or "")
    if isinstance(own, nn.modules.batchnorm._BatchNorm) and graph.nodes[index].op_type != "BatchNormalization":
        return ""  # a norm is folded into the weights, which keep their name
    tensors = weights_of(network)
    for name in graph.inputs[index]:
        if name not in tensors or name not in graph.initializers:
            continue
        found = values(graph.initializers[name], graph.path)
        wanted = tensors[name].detach().float().cpu().numpy()
        if found.dtype.kind == "f" and not any(
            np.array_equal(candidate.reshape(-1), wanted.reshape(-1)) for candidate in (found, found.T)
        ):
            return name
    return ""


def _in_short(array: Array | None, other: Array | None) -> Values | None:
    if array is None:
        return None
    flat = array.reshape(-1)
    places = np.arange(min(_NUM_SHOWN, flat.size))
    if other is not None and other.size == flat.size:
        difference = np.abs(flat.astype(np.float64) - other.reshape(-1))
        places = np.sort(np.argsort(-np.nan_to_num(difference, nan=np.inf), kind="stable")[:_NUM_SHOWN])
    return Values(
        dtype=str(array.dtype), shape=array.shape, rms=rms(array), worst=tuple(float(flat[place]) for place in places)
    )


def _sentence(blame: Blame, said: str) -> str:
    what = {
        "weights": f"holds other values of {blame.parameter} than the module",
        "wiring": "computes rightly, but is fed the wrong value",
        "output": "gives a right value to the wrong output",
        "node": f"is refused by ONNX Runtime ({said})" if said else "is the first whose own result is wrong",
    }[blame.kind]
    its_class = f" ({blame.module_class})" if blame.module_class else ""
    module = f"{blame.module_path}{its_class}" if blame.module_path else "forward itself"
    source = f", {blame.source}" if blame.source else ""
    ratio = "" if said or blame.kind == "output" else f", off by {blame.own_ratio:.3g} times its noise"
    return f"{blame.node} ({blame.op_type}) {what}{ratio}; in PyTorch that is {module}{source}"
