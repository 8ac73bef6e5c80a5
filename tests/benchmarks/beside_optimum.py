"""Seconds and peak memory beside Optimum's exporter, on a model that both can do, in one run.

    python tests/benchmarks/beside_optimum.py [--runs N] [--environment FOLDER] [--write FILE.md]

The model is a Vision Transformer of transformers with random weights, saved to disk first. Optimum lives in an
environment of its own that sees Assay's packages, so that both run on the same PyTorch. Each command imports,
loads the same weights, exports with a dynamic batch, and compares the file with the model. Optimum's exporter
traces; of own code Assay traces only what dynamo refuses, unless it is told to.
"""

import argparse
import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path
from statistics import median

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT))
from tests.benchmarks.processes import measure  # noqa: E402

PACKAGES = ["optimum-onnx==0.1.0", "transformers==4.57.6"]
SAVE = """
import sys, torch, transformers
torch.manual_seed(0)
config = transformers.ViTConfig(num_labels=1000)
transformers.ViTForImageClassification(config).save_pretrained(sys.argv[1])
"""
MODEL = """
import transformers
def vit():
    return transformers.ViTForImageClassification.from_pretrained({folder!r})
"""


def main() -> None:
    """Print one table of seconds and MiB, and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--environment", type=Path, help="folder for Optimum's environment; default a temporary one")
    parser.add_argument("--write", type=Path, metavar="FILE.md", help="also write the table there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="assay-benchmark-") as folder:
        python = environment(options.environment or Path(folder) / "environment")
        table = _measure(python, Path(folder), options.runs)
    print(table)
    if options.write:
        options.write.write_text(table + "\n")


def environment(folder: Path) -> Path:
    """The Python of an environment that has Optimum, and Assay's packages beside."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
        (packages / "assay.pth").write_text(sysconfig.get_path("purelib") + f"\n{PROJECT}\n")
        subprocess.run([python, "-m", "pip", "install", "-q", *PACKAGES], check=True)
    return python


def _measure(python: Path, folder: Path, num_runs: int) -> str:
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
    os.environ["HF_HUB_OFFLINE"] = "1"
    subprocess.run([python, "-c", SAVE, folder / "vit"], check=True)
    (folder / "model.py").write_text(MODEL.format(folder=str(folder / "vit")))
    optimum = [str(python.parent / "optimum-cli"), "export", "onnx", "--model", str(folder / "vit"),
               "--task", "image-classification", str(folder / "optimum")]  # fmt: skip
    assay = [str(python), str(PROJECT / "flows/export.py"), f"{folder}/model.py:vit", "--weights", "as-built",
             "--input", "pixel_values=float32[batch,3,224,224]", "--force"]  # fmt: skip
    measure(python, PROJECT / "flows/export.py")  # both databases exist
    commands = {
        "optimum-cli export onnx": optimum,
        "flows/export.py": assay,
        "flows/export.py --exporter torchscript": [*assay, "--exporter", "torchscript"],
    }
    runs = [{name: _figures(*command) for name, command in commands.items()} for _ in range(num_runs)]
    found = {name: [median(values) for values in zip(*(run[name] for run in runs), strict=True)] for name in commands}
    theirs = found["optimum-cli export onnx"]
    rows = [(name, *ours, ours[0] / theirs[0], ours[1] / theirs[1]) for name, ours in found.items()]
    lines = ["| command | seconds | peak MiB | ratio of seconds | ratio of memory |", "|---|---|---|---|---|"]
    return "\n".join(lines + [f"| `{n}` | {s:.1f} | {m:.0f} | {a:.2f} | {b:.2f} |" for n, s, m, a, b in rows])


def _figures(*command: str) -> tuple[float, float]:
    usage = measure(*command)
    return usage.seconds, usage.peak_mib


if __name__ == "__main__":
    main()
