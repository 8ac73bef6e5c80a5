"""A wrong node as files that reproduce its error without Assay: a model, its inputs, what it should give, a script."""

from pathlib import Path

import numpy as np
import onnx

from tasks.core.localisation.defects import Defect
from tasks.core.onnx_files.lazy_reading import values

REPRODUCTION = "reproduction"
"""The folder of one, among the artifacts of a run."""
_LEVELS = {
    "": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
_SCRIPT = '''"""Run the node that makes {file} wrong, and show how far it is off. Needs numpy and onnxruntime.

{sentence}.
"""

from pathlib import Path

import numpy
import onnxruntime

folder = Path(__file__).parent
options = onnxruntime.SessionOptions()
options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.{level}
session = onnxruntime.InferenceSession(str(folder / "culprit.onnx"), options, providers=["CPUExecutionProvider"])
with numpy.load(folder / "inputs.npz") as inputs:
    feeds = {{name.name: inputs[f"input_{{index}}"] for index, name in enumerate(session.get_inputs())}}
(found,) = session.run(None, feeds)
with numpy.load(folder / "expected.npz") as file:
    expected = file["expected"].reshape(-1)
print("found   ", found.reshape(-1)[:8])
print("expected", expected[:8], "{source}")
if found.size != expected.size:
    raise SystemExit(f"wrong: {{found.size}} elements instead of {{expected.size}}")
difference = numpy.abs(found.reshape(-1).astype(float) - expected).max()
print("largest difference", difference)
raise SystemExit(int(not difference <= {tolerance!r}))
'''


def write_reproduction(defect: Defect, folder: Path, *, file: str) -> None:
    """Write culprit.onnx, inputs.npz, expected.npz and reproduce.py, which exits 1 while the defect is there.

    Args:
        defect: the wrong node.
        folder: created if it does not exist.
        file: name of the wrong file, for the reader.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model, fed = defect.graph.part(defect.nodes, defect.inputs, wanted=[defect.output])
    for tensor in model.graph.initializer:  # some lie in the wrong file
        tensor.CopyFrom(onnx.numpy_helper.from_array(values(tensor, defect.graph.path), tensor.name))
    onnx.save(model, folder / "culprit.onnx")
    arrays = {f"input_{index}": fed[value.name] for index, value in enumerate(model.graph.input)}
    np.savez(folder / "inputs.npz", **arrays)  # type: ignore[arg-type]  # its stubs take keywords for options
    expected = np.zeros(0, np.float32) if defect.expected is None else defect.expected
    np.savez(folder / "expected.npz", expected=expected)
    ratio, scale = defect.blame.own_ratio, float(np.abs(expected[np.isfinite(expected)]).max(initial=0.0))
    is_optimiser = defect.blame.kind == "optimiser"
    script = _SCRIPT.format(
        file=file,
        sentence=defect.blame.sentence,
        level=_LEVELS[defect.blame.level],
        source="as it is without optimisation" if is_optimiser else "as PyTorch computes it in float64",
        tolerance=scale * 1e-5 if ratio > 100 or is_optimiser else 0.0,
    )
    (folder / "reproduce.py").write_text(script)
