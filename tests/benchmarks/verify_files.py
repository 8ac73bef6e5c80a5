"""Seconds that one more file costs `flows/verify.py`, in one run: a true file and five mutated ones.

    python tests/benchmarks/verify_files.py [MODEL] [--pairs N]

The model is built and run once for all files, so that a further file costs its own runs, and where it fails
the search for its defect. Seconds come from the JSON and from the clock: (six files - one file) / 5.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

PROJECT = Path(__file__).resolve().parents[2]
OWN_STEPS = ("match_inputs", "validate_onnx", "log_export")


def main() -> None:
    """Print a line a file, and the seconds by the clock."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="resnet18")
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="assay-benchmark-") as folder:
        _measure(options.model, options.pairs, Path(folder))


def _measure(model: str, num_pairs: int, folder: Path) -> None:
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
    os.environ["ASSAY_CACHE"] = str(folder / "cache")
    os.chdir(folder)
    arguments = [model, "--weights", "random"]
    _run("export", *arguments, "-o", "true.onnx")
    files = ["true.onnx", *_mutated(folder / "true.onnx")]
    walls = []
    for _ in range(num_pairs):
        one = _run("verify", *arguments, files[0])
        walls.append((one, _run("verify", *arguments, *files)))
    found: list[dict[str, Any]] = json.loads(Path("out.json").read_text())["results"]
    print(f"{'file':<20} {'verdict':<8} {'own s':>6}  steps of the last run")
    for result in found:
        steps = {step: result["seconds"][step] for step in OWN_STEPS}
        shown = ", ".join(f"{step} {seconds:.2f}" for step, seconds in steps.items())
        print(f"{result['file']:<20} {result['verdict']:<8} {sum(steps.values()):6.2f}  {shown}")
    further = [sum(result["seconds"][step] for step in OWN_STEPS) for result in found[1:]]
    one, six = (median(values) for values in zip(*walls, strict=True))
    print(f"seconds of a further file: {median(further):.2f} in the JSON (median), {(six - one) / 5:.2f} by the clock "
          f"({one:.1f} s for one file, {six:.1f} s for six; medians of {num_pairs})")  # fmt: skip


def _mutated(source: Path) -> list[str]:
    """Five copies: three convolutions and the head off by 1 %, a Relu left out."""
    kernels = [t.name for t in onnx.load(source).graph.initializer if len(t.dims) == 4]
    heads = [t.name for t in onnx.load(source).graph.initializer if len(t.dims) == 2]
    scaled = [kernels[0], kernels[len(kernels) // 2], kernels[-1], heads[-1]]
    names = []
    for index, name in enumerate((*scaled, None)):
        proto = onnx.load(source)
        if name is None:
            next(node for node in proto.graph.node if node.op_type == "Relu").op_type = "Identity"
        for tensor in proto.graph.initializer:
            if tensor.name == name:
                values = numpy_helper.to_array(tensor) * np.float32(1.01)
                tensor.CopyFrom(numpy_helper.from_array(values, name))
        names.append(f"mutated_{index}.onnx")
        onnx.save(proto, source.with_name(names[-1]))
    return names


def _run(flow: str, *arguments: str) -> float:
    """Seconds of a command."""
    command = [sys.executable, str(PROJECT / f"flows/{flow}.py"), *arguments, "--json", "out.json"]
    started = time.perf_counter()
    process = subprocess.run(command, capture_output=True, text=True)
    if process.returncode > 1:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}:\n{process.stderr}")
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
