"""How long a run takes: what Assay says, beside a bare loop of ONNX Runtime on the same file, by turns in one run.

    python tests/benchmarks/latency.py [MODEL...] [--pairs N]

The bare loop is a process of its own that has imported onnxruntime and numpy only, with a session of default options;
it runs the file for two seconds, which is what Assay takes to measure both runtimes. Weights are random.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT))  # `tests` is not installed
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the command has it

if TYPE_CHECKING:
    from tasks.core.records.latency import Latency

LIMIT = 0.05
"""By which the two may differ."""
_BARE = """
import json, sys, time
import numpy, onnxruntime
session, generator = onnxruntime.InferenceSession(sys.argv[1]), numpy.random.default_rng(0)
feeds = {name: generator.random(shape, numpy.float32) for name, shape in json.loads(sys.argv[2]).items()}
session.run(None, feeds)
seconds, end = [], time.perf_counter() + 2
while time.perf_counter() < end or len(seconds) < 3:
    started = time.perf_counter()
    session.run(None, feeds)
    seconds.append(time.perf_counter() - started)
print(1000 * sorted(seconds)[len(seconds) // 2])
"""


def main() -> None:
    """Print a row a model, as a table of Markdown; status 1 where Assay is off by more than 5 %."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["digits", "resnet18", "mobilenet_v2"])
    parser.add_argument("--pairs", type=int, default=7)
    options = parser.parse_args()
    print("| model | Assay, ms | bare loop, ms | ratio | PyTorch eager, ms | runs |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="assay-benchmark-") as folder:
        ratios = [_measured(model, options.pairs, Path(folder)) for model in options.models]
    raise SystemExit(not all(abs(ratio - 1) <= LIMIT for ratio in ratios))


def _measured(model: str, num_pairs: int, folder: Path) -> float:
    """Print one row; the ratio, median of those of all pairs."""
    measure = _exported(model, folder)
    pairs = [(ours := measure(), _bare(folder / "model.onnx", ours.shapes)) for _ in range(num_pairs)]
    timed = [(ours.onnx, ours.torch, bare) for ours, bare in pairs if ours.onnx and ours.torch]
    if not timed:
        print(f"| {model} | {pairs[0][0].reason} | | | | |", flush=True)
        return math.nan
    ratio = median(onnx.median_ms / bare for onnx, _, bare in timed)
    onnx_ms, eager_ms = (median(timing[place].median_ms for timing in timed) for place in (0, 1))
    bare_ms, num_runs = median(bare for _, _, bare in timed), sum(onnx.num_runs for onnx, _, _ in timed)
    print(f"| {model} | {onnx_ms:.4g} | {bare_ms:.4g} | {ratio:.3f} | {eager_ms:.4g} | {num_runs} |", flush=True)
    return ratio


def _exported(model: str, folder: Path) -> Callable[[], "Latency"]:
    """Export a model; what measures it."""
    from tasks.core.export.fallback import export
    from tasks.core.inputs.choice import choose_inputs
    from tasks.core.model.building import build_with_weights
    from tasks.core.provenance.manifest import make_manifest
    from tasks.core.reference.module import BuiltModule
    from tasks.core.spec.resolve import make_spec, resolve
    from tasks.core.speed.latency import measure
    from tasks.core.weights.sources import find_weights

    spec = resolve(make_spec(model=model, weights="random", exporter="torchscript"))
    weights = find_weights(spec, Path)
    network, report = build_with_weights(spec, weights)
    module = BuiltModule(spec, weights, report, make_manifest(spec, weights, report), [network])
    inputs = choose_inputs(spec, network)
    candidate, _ = export(spec, module.reference(inputs), provenance={}, folder=folder)
    return lambda: measure(candidate, module, inputs)


def _bare(path: Path, shapes: dict[str, tuple[int, ...]]) -> float:
    """Milliseconds of a run on float32 inputs."""
    command = [sys.executable, "-c", _BARE, str(path), json.dumps(shapes)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


if __name__ == "__main__":
    main()
