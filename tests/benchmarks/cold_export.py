"""Time and peak memory of a cold export beside a bare script doing the same work, in one run.

    python tests/benchmarks/cold_export.py [MODEL...] [--pairs N]

The bare script imports, builds, loads the same weights, exports (torch's default exporter, dynamic batch),
saves, checks, and compares ONNX Runtime with PyTorch on the same probes. Both load a state_dict made by
`--weights random`, so that neither initialises or downloads. Peak memory is that of the exporting process; the
last two columns add, at each moment, the one in which Assay has ONNX Runtime run files.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path
from statistics import median

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT))  # `tests` is not installed

from tests.benchmarks.processes import measure  # noqa: E402

BARE = Path(__file__).with_name("bare_export.py")


def main() -> None:
    """Print one table of seconds and MiB, and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=["alexnet", "resnet50"])
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="assay-benchmark-") as folder:
        _measure(options.models, options.pairs, Path(folder))


def _measure(models: list[str], num_pairs: int, folder: Path) -> None:
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
    os.environ["ASSAY_CACHE"] = str(folder / "cache")
    os.chdir(folder)
    print(f"{'model':<12} {'bare s':>8} {'assay s':>8} {'ratio':>6} {'bare MiB':>9} {'assay MiB':>9} {'ratio':>6} "
          f"{'unchanged s':>11} {'ratio':>6} {'both MiB':>9} {'ratio':>6}")  # fmt: skip
    _run([sys.executable, str(PROJECT / "flows/export.py")])  # both databases exist, as after the first use
    for model in models:
        weights = folder / f"{model}.pth"
        _run([sys.executable, str(BARE), model, str(weights), "--prepare"])
        assay = [sys.executable, str(PROJECT / "flows/export.py"), model, "--weights", str(weights)]
        bare_runs, assay_runs, unchanged_runs = [], [], []
        for _ in range(num_pairs):
            bare_runs.append(_run([sys.executable, str(BARE), model, str(weights)]))
            assay_runs.append(_run([*assay, "--force"]))
            unchanged_runs.append(_run(assay))
        bare, ours = (tuple(median(values) for values in zip(*runs, strict=True)) for runs in (bare_runs, assay_runs))
        unchanged = median(seconds for seconds, *_ in unchanged_runs)
        print(f"{model:<12} {bare[0]:8.1f} {ours[0]:8.1f} {ours[0] / bare[0]:6.2f} {bare[1]:9.0f} {ours[1]:9.0f} "
              f"{ours[1] / bare[1]:6.2f} {unchanged:11.1f} {unchanged / bare[0]:6.2f} {ours[2]:9.0f} "
              f"{ours[2] / bare[1]:6.2f}", flush=True)  # fmt: skip


def _run(command: list[str]) -> tuple[float, float, float]:
    """Seconds and peak MiB of a command, of its largest process and with ONNX Runtime's."""
    usage = measure(*command)
    return usage.seconds, usage.peak_mib, usage.together_mib


if __name__ == "__main__":
    main()
