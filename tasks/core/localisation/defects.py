"""The node that makes a file wrong: described for a reader, and as files that reproduce its error."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from torch import nn

from tasks.core.arrays import Array, rms
from tasks.core.forward.fixed_values import weights_of
from tasks.core.localisation.file_values import FileValues
from tasks.core.localisation.onnx_graph import OnnxGraph
from tasks.core.onnx_files.lazy_reading import values
from tasks.core.records.evidence import Blame, Values

_NUM_SHOWN = 8
REPRODUCTION = "reproduction"
"""The folder of one, among the artifacts of a run."""
_SCRIPT = '''"""Run the node that makes {file} wrong, and show how far it is off. Needs numpy and onnxruntime.

{sentence}.
"""

from pathlib import Path

import numpy
import onnxruntime

folder = Path(__file__).parent
options = onnxruntime.SessionOptions()
options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
session = onnxruntime.InferenceSession(str(folder / "culprit.onnx"), options, providers=["CPUExecutionProvider"])
with numpy.load(folder / "inputs.npz") as inputs:
    feeds = {{name.name: inputs[f"input_{{index}}"] for index, name in enumerate(session.get_inputs())}}
(found,) = session.run(None, feeds)
with numpy.load(folder / "expected.npz") as file:
    expected = file["expected"].reshape(-1)
print("found   ", found.reshape(-1)[:8])
print("expected", expected[:8], "as PyTorch computes it in float64")
if found.size != expected.size:
    raise SystemExit(f"wrong: {{found.size}} elements instead of {{expected.size}}")
difference = numpy.abs(found.reshape(-1).astype(float) - expected).max()
print("largest difference", difference)
raise SystemExit(int(not difference <= {tolerance!r}))
'''


@dataclass(frozen=True)
class Defect:
    """A wrong node of a file, and what it takes to reproduce its error."""

    blame: Blame
    graph: OnnxGraph
    node: int
    """Its index in the graph."""
    inputs: dict[str, Array]
    """The arrays that the node takes in the file, by name."""
    output: str
    """Name of its wrong output."""
    expected: Array | None
    """What that should be, as the module computes it in float64, rounded to float32; None: not known."""


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
    return Defect(blame, graph, index, inputs=file.inputs_of(index), output=output, expected=expected)


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


def write_reproduction(defect: Defect, folder: Path, *, file: str) -> None:
    """Write culprit.onnx, inputs.npz, expected.npz and reproduce.py, which exits 1 while the defect is there.

    Args:
        defect: the wrong node.
        folder: created if it does not exist.
        file: name of the wrong file, for the reader.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model, fed = defect.graph.part([defect.node], defect.inputs, wanted=[defect.output])
    for tensor in model.graph.initializer:  # some lie in the wrong file
        tensor.CopyFrom(onnx.numpy_helper.from_array(values(tensor, defect.graph.path), tensor.name))
    onnx.save(model, folder / "culprit.onnx")
    arrays = {f"input_{index}": fed[value.name] for index, value in enumerate(model.graph.input)}
    np.savez(folder / "inputs.npz", **arrays)  # type: ignore[arg-type]  # its stubs take keywords for options
    expected = np.zeros(0, np.float32) if defect.expected is None else defect.expected
    np.savez(folder / "expected.npz", expected=expected)
    ratio, scale = defect.blame.own_ratio, float(np.abs(expected[np.isfinite(expected)]).max(initial=0.0))
    script = _SCRIPT.format(file=file, sentence=defect.blame.sentence, tolerance=scale * 1e-5 if ratio > 100 else 0.0)
    (folder / "reproduce.py").write_text(script)
