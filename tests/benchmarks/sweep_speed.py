"""A sweep of a mixed set of models beside a bare script in a loop, and a second sweep in which nothing changed.

    python tests/benchmarks/sweep_speed.py [--models N] [--write FILE.md]

The bare script (bare_export.py, one process a model) and the sweep load the same weights, made by `random` before
the clock starts, export with a dynamic batch, and compare ONNX Runtime with PyTorch on the same batches; the sweep
runs float64, too, and logs all to MLflow. Prefect's and MLflow's databases exist, as after the first use.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from processes import measure

PROJECT = Path(__file__).resolve().parents[2]
BARE = Path(__file__).with_name("bare_export.py")
MODELS = ("convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "mnasnet1_0", "mobilenet_v2",
          "mobilenet_v3_large", "regnet_x_800mf", "regnet_y_400mf", "resnet18", "resnet34", "resnet50",
          "resnext50_32x4d", "shufflenet_v2_x1_0", "squeezenet1_1", "vit_b_32")  # fmt: skip
PREPARE = """
import sys, torch
from tasks.core.model.building import build_with_weights
from tasks.core.spec.resolve import make_spec, resolve
from tasks.core.weights.sources import find_weights
for name in sys.argv[2:]:
    spec = resolve(make_spec(model=name, weights="random"), use_catalog=False)
    model, _ = build_with_weights(spec, find_weights(spec, None))
    torch.save(model.state_dict(), f"{sys.argv[1]}/{name}.pth")
"""
SWEEP = """
import sys
from flows.processes.temporary_server import TemporaryServer
from tasks.core.spec.resolve import make_spec, resolve
server = TemporaryServer()
server.start()
from flows.sweep import SweepOptions, sweep
inputs = ["x=float32[batch,3,224,224]"]
specs = [resolve(make_spec(model=n, weights=f"{sys.argv[1]}/{n}.pth", inputs=inputs), use_catalog=False)
         for n in sys.argv[2:]]
results = sweep(specs, SweepOptions(), ready=server.ready())
print(*(f"{r.name}: {r.verdict}, {r.reason}, {sum(r.seconds.values()):.1f} s" for r in results), sep="\\n")
raise SystemExit(any(r.verdict != "pass" for r in results))
"""


def main() -> None:
    """Print a table of seconds and ratios; exit 1 where a model was not proven."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=len(MODELS), help="how many of the sixteen")
    parser.add_argument("--write", metavar="FILE.md", type=Path, help="also write the table there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="assay-benchmark-") as folder:
        table = _measure(MODELS[: options.models], Path(folder))
    print(table)
    if options.write:
        options.write.write_text(table + "\n")


def _measure(models: tuple[str, ...], folder: Path) -> str:
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
    os.environ["PREFECT_LOGGING_LEVEL"] = "CRITICAL"
    os.chdir(folder)
    measure(sys.executable, "-c", PREPARE, folder, *models)
    measure(sys.executable, PROJECT / "flows/export.py")  # both databases exist
    bare = [measure(sys.executable, BARE, name, folder / f"{name}.pth").seconds for name in models]
    first = measure(sys.executable, "-c", SWEEP, folder, *models)
    second = measure(sys.executable, "-c", SWEEP, folder, *models)
    print(first.output, *(f"{n}: bare {s:.1f} s" for n, s in zip(models, bare, strict=True)), sep="\n", file=sys.stderr)
    total = sum(bare)
    rows = [
        (f"bare script, {len(models)} models in a loop", total),
        ("`flows/sweep.py`, from nothing", first.seconds),
        ("`flows/sweep.py` again, all unchanged", second.seconds),
    ]
    lines = ["| what | seconds | ratio |", "|---|---|---|"]
    return "\n".join(lines + [f"| {what} | {seconds:.1f} | {seconds / total:.2f} |" for what, seconds in rows])


if __name__ == "__main__":
    main()
