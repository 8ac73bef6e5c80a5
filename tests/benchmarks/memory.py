"""How the peak memory of an export grows with the model, beside a bare script, in one run.

    python tests/benchmarks/memory.py [--megabytes N...] [--write FILE]

Wide MLPs of several sizes and a ResNet-50 are exported from a checkpoint, by `flows/export.py` with its whole proof
and by a script that loads, exports (torch's default exporter), saves, checks, and runs PyTorch and ONNX Runtime
once. Peak memory is that of the exporting process; "with sessions" adds, at each moment, the one in which ONNX Runtime
runs files. Needs 12 GB of free memory for the largest.
"""

import argparse
import math
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT))  # `tests` is not installed

from tests.benchmarks.processes import measure  # noqa: E402

BARE = """
import sys, numpy, onnx, onnxruntime, torch
from {module} import {factory} as build
model = build(**{kwargs})
if sys.argv[2] == "prepare":
    torch.manual_seed(0)
    model = build(**{kwargs})
    torch.save(model.state_dict(), sys.argv[1])
    raise SystemExit
model.load_state_dict(torch.load(sys.argv[1], map_location="cpu", weights_only=True))
model.eval()
example = torch.randn(2, *{shape})
program = torch.onnx.export(model, (example,), input_names=["x"], dynamic_shapes=({{0: torch.export.Dim("batch")}},))
program.save("bare.onnx")
onnx.checker.check_model("bare.onnx", full_check=True)
with torch.no_grad():
    wanted = model(example).numpy()
(found,) = onnxruntime.InferenceSession("bare.onnx").run(None, {{"x": example.numpy()}})
numpy.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4 * numpy.abs(wanted).max())
"""
HEAD = """| model | weights MB | bare script, peak MB | x weights | Assay, peak MB | x weights | ratio | with sessions |
|---|---|---|---|---|---|---|---|"""


def main() -> None:
    """Print a table, a row as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, nargs="*", default=[50, 200, 800, 2300], help="sizes of MLPs")
    parser.add_argument("--write", metavar="FILE", type=Path, help="also write the table there")
    options = parser.parse_args()
    print(HEAD)
    rows = []
    for row in _rows(options.megabytes):
        print(row, flush=True)
        rows.append(row)
    if options.write:
        options.write.write_text("\n".join([HEAD, *rows, ""]))


def _rows(sizes: list[int]) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="assay-benchmark-") as name:
        folder = Path(name)
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        os.environ["PYTHONPATH"] = str(PROJECT)
        os.chdir(folder)
        for size in sizes:
            width = round(math.sqrt(size * 1e6 / 128))
            yield _row(folder, f"wide MLP, {width}", "tests.models.wide_models", "WideMLP", {"width": width}, (64,))
        yield _row(folder, "ResNet-50", "torchvision.models", "resnet50", {}, (3, 224, 224))


def _row(folder: Path, name: str, module: str, factory: str, kwargs: dict[str, int], shape: tuple[int, ...]) -> str:
    weights, script = folder / "weights.pth", folder / "bare.py"
    script.write_text(BARE.format(module=module, factory=factory, kwargs=kwargs, shape=shape))
    measure(sys.executable, script, weights, "prepare")
    bare = measure(sys.executable, script, weights, "export").peak_bytes / 1e6
    title = f"{factory.lower()}-{'-'.join(map(str, kwargs.values()))}".rstrip("-")
    given = str(kwargs).replace("'", '"')
    dims = ",".join(map(str, ("batch", *shape)))
    usage = measure(
        sys.executable, PROJECT / "flows/export.py", f"{module}:{factory}", "--weights", weights,
        "--kwargs", given, "--input", f"x=float32[{dims}]", "--name", title,
    )  # fmt: skip
    assay, together = usage.peak_bytes / 1e6, usage.together_bytes / 1e6
    size = weights.stat().st_size / 1e6
    for used in folder.glob("bare.onnx*"):
        used.unlink()
    return (
        f"| {name} | {size:,.0f} | {bare:,.0f} | {bare / size:.2f} | {assay:,.0f} | {assay / size:.2f} "
        f"| {assay / bare:.2f} | {together:,.0f} |"
    )


if __name__ == "__main__":
    main()
