"""PyTorch's two exporters side by side, in one run: what each costs, and what its file is worth.

    python tests/benchmarks/exporters.py [MODEL...] [--write FILE]

One model of each family of torchvision by default, with random weights. Seconds are those of the exporter
with writing the file; latency is ONNX Runtime's after its own optimisation, at batch 1, median of runs that take
turns between the two files, and as a ratio dynamo / torchscript, which other work on the machine moves less.
"""

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT))

import numpy as np  # noqa: E402
import onnxruntime  # noqa: E402

from tasks.core.errors import AssayError  # noqa: E402
from tasks.core.export.fallback import export  # noqa: E402
from tasks.core.inputs.choice import choose_inputs  # noqa: E402
from tasks.core.inputs.inputs import Inputs  # noqa: E402
from tasks.core.model.building import build_with_weights  # noqa: E402
from tasks.core.proof.validation import validate  # noqa: E402
from tasks.core.records.evidence import Evidence  # noqa: E402
from tasks.core.records.steps import Graph, Weights  # noqa: E402
from tasks.core.reference.reference import Reference  # noqa: E402
from tasks.core.spec.resolve import make_spec, resolve  # noqa: E402

FAMILIES = (
    "alexnet", "vgg11", "resnet18", "resnext50_32x4d", "densenet121", "googlenet", "squeezenet1_1",
    "mobilenet_v2", "mobilenet_v3_small", "mnasnet0_5", "shufflenet_v2_x0_5", "efficientnet_b0", "regnet_y_400mf",
    "convnext_tiny", "vit_b_32", "swin_t", "maxvit_t", "lraspp_mobilenet_v3_large", "deeplabv3_mobilenet_v3_large",
    "r3d_18",
)  # fmt: skip
NUM_RUNS = 15
HEAD = """| model | exporter | export s | nodes | MB | latency ms | verdict | noise ratio |
|---|---|---|---|---|---|---|---|"""


@dataclass
class _Made:
    """One exporter's file and its proof."""

    seconds: float
    graph: Graph
    evidence: Evidence


def main() -> None:
    """Print two rows a model, and the ratios of the two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", default=list(FAMILIES))
    parser.add_argument("--write", metavar="FILE", type=Path, help="also write the table there")
    options = parser.parse_args()
    rows = [HEAD]
    print(HEAD, flush=True)
    for model in options.models:
        for row in _rows(model):
            print(row, flush=True)
            rows.append(row)
        if options.write:
            options.write.write_text("\n".join([*rows, ""]))


def _rows(name: str) -> list[str]:
    spec = resolve(make_spec(model=name, weights="random"))
    model, _ = build_with_weights(spec, Weights(kind="random", origin="random:0", seed=0))
    inputs = choose_inputs(spec, model)
    made: dict[str, _Made] = {}
    rows = []
    with tempfile.TemporaryDirectory(prefix="assay-benchmark-") as folder:
        for exporter in ("torchscript", "dynamo"):
            reference = Reference(model, inputs)
            for probe in inputs.probes:
                reference.float32(probe)  # so that no run of the module counts as the exporter's
            here = Path(folder, exporter)
            here.mkdir()
            try:
                asked = spec.model_copy(update={"exporter": exporter})
                candidate, _ = export(asked, reference, provenance={}, folder=here)
            except AssayError as error:
                rows.append(f"| {name} | {exporter} | - | - | - | - | {str(error)[:100]} | - |")
                continue
            graph = candidate.graph
            evidence = validate(candidate, reference, random_weights=True).evidence
            made[exporter] = _Made(graph.seconds, graph, evidence)
        latencies = _latencies({exporter: one.graph.path for exporter, one in made.items()}, inputs)
    for exporter, one in made.items():
        rows.append(
            f"| {name} | {exporter} | {one.seconds:.1f} | {one.graph.num_nodes} | {one.graph.size_bytes / 1e6:.1f} "
            f"| {latencies[exporter]:.1f} | {one.evidence.verdict} | {one.evidence.noise_ratio:.2f} |"
        )
    if len(made) == 2:
        first, second = made["torchscript"], made["dynamo"]
        rows.append(
            f"| {name} | ratio | {second.seconds / first.seconds:.1f} "
            f"| {second.graph.num_nodes / first.graph.num_nodes:.2f} "
            f"| {second.graph.size_bytes / first.graph.size_bytes:.3f} "
            f"| {latencies['dynamo'] / latencies['torchscript']:.2f} | | |"
        )
    return rows


def _latencies(paths: dict[str, Path], inputs: Inputs) -> dict[str, float]:
    """Milliseconds by exporter at the smallest planned size."""
    probe = min(inputs.probes, key=lambda probe: np.prod(list(probe.sizes.values()) or [1]))
    arrays = inputs.arrays(probe)
    sessions = {name: onnxruntime.InferenceSession(path) for name, path in paths.items()}
    taken: dict[str, list[float]] = {name: [] for name in paths}
    for index in range(NUM_RUNS + 2):
        for name, session in sessions.items():
            wanted = {value.name for value in session.get_inputs()}
            started = time.perf_counter()
            session.run(None, {key: array for key, array in arrays.items() if key in wanted})
            if index >= 2:
                taken[name].append(1000 * (time.perf_counter() - started))
    return {name: median(values) for name, values in taken.items()}


if __name__ == "__main__":
    main()
