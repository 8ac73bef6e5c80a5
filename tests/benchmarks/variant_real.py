"""What int8-static costs two models with real weights, and which nodes stay in float32 for the budget's sake.

    RW_SITE=real python tests/benchmarks/variant_real.py [--select GLOB] [--samples N] [--json FILE.json]

Each is exported and proven, and its variant made twice by the command line of flows/export.py: with min-max ranges, and
`--within-budget`. The samples are crops of photographs out of packages; no photograph is in both sets. A store of its
own is used unless MLFLOW_TRACKING_URI names one. Half an hour on one core.
"""

import argparse
import fnmatch
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT))

from tests.models.real_models import CASES, SITE  # noqa: E402  the project's folder comes first

CALIBRATION = (
    "motorcycle_right.png", "flower.jpg", "retina.jpg", "camera.png", "grass.png", "gravel.png", "cell.png", "moon.png",
)  # fmt: skip
EVALUATION = (
    "astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "china.jpg", "hubble_deep_field.jpg", "brick.png",
    "coins.png", "ihc.png", "horse.png",
)  # fmt: skip
NUM_CALIBRATION = 64
_VARIABLE = "ASSAY_EVALUATION_CROPS"
_BATCH = 20


@dataclass(frozen=True)
class Trial:
    """A model, and what is asked of its variant."""

    name: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    """Of its preprocessing, in units of 0..255."""
    measure: str
    budget: str


TRIALS = (
    Trial("efficientnet_lite0", (127.0,) * 3, (128.0,) * 3, "agreement", "8%"),
    Trial("mobilenetv2_embedder", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375), "neighbours", "10%"),
)


def crops(names: tuple[str, ...], number: int, trial: Trial, *, side: int = 224) -> Iterator[dict[str, np.ndarray]]:
    """Square parts of photographs, mirrored at random, as a model takes them.

    Args:
        names: of the photographs, taken in turn.
        number: of crops.
        trial: with the preprocessing.
        side: of the crops, in pixels.
    """
    from PIL import Image

    generator = np.random.default_rng(len(names))
    pictures = [Image.open(_found(name)).convert("RGB") for name in names]
    for start in range(0, number, _BATCH):
        rows = []
        for index in range(start, min(start + _BATCH, number)):
            picture = pictures[index % len(pictures)]
            part = int(min(picture.size) * generator.uniform(0.5, 1))
            left, top = (int(generator.integers(0, size - part + 1)) for size in picture.size)
            crop = picture.crop((left, top, left + part, top + part)).resize((side, side), Image.Resampling.BICUBIC)
            values = np.asarray(crop, dtype=np.float32)[:, :: generator.choice((1, -1))]
            rows.append(((values - trial.mean) / trial.std).transpose(2, 0, 1))
        yield {"image": np.stack(rows).astype(np.float32)}


def _found(name: str) -> Path:
    import sklearn.datasets

    folders = (SITE / "skimage" / "data", Path(sklearn.datasets.__file__).parent / "images")
    return next(folder / name for folder in folders if (folder / name).exists())


def efficientnet_lite0_calibration() -> Iterator[dict[str, np.ndarray]]:
    """For `--calibrate`."""
    return crops(CALIBRATION, NUM_CALIBRATION, TRIALS[0])


def efficientnet_lite0_evaluation() -> Iterator[dict[str, np.ndarray]]:
    """For `--evaluate`."""
    return crops(EVALUATION, int(os.environ[_VARIABLE]), TRIALS[0])


def mobilenetv2_embedder_calibration() -> Iterator[dict[str, np.ndarray]]:
    """For `--calibrate`."""
    return crops(CALIBRATION, NUM_CALIBRATION, TRIALS[1])


def mobilenetv2_embedder_evaluation() -> Iterator[dict[str, np.ndarray]]:
    """For `--evaluate`."""
    return crops(EVALUATION, int(os.environ[_VARIABLE]), TRIALS[1])


def run(trial: Trial, *more: str) -> dict[str, Any]:
    """Export the model with its variant; the variant's part of the JSON.

    Args:
        trial: the model.
        more: further options.
    """
    from flows.command_line.export import main as export

    case = CASES[trial.name]
    data = f"{Path(__file__).resolve()}:{trial.name}"
    with tempfile.TemporaryDirectory(prefix="assay-real-") as folder:
        file = Path(folder) / "out.json"
        export(
            [
                f"{PROJECT}/tests/models/real_models.py:{trial.name}", "--weights", str(SITE / case.weights),
                "--input", *case.inputs, "--variant", "int8-static", "--calibrate", f"{data}_calibration",
                "--evaluate", f"{data}_evaluation", "--measure", trial.measure, "--budget", trial.budget,
                "--json", str(file), *more,
            ]
        )  # fmt: skip
        result: dict[str, Any] = json.loads(file.read_text())["results"][-1]
    return result


def table(trial: Trial, plain: dict[str, Any], kept: dict[str, Any]) -> Iterator[str]:
    """What became of one model.

    Args:
        trial: the model.
        plain: the variant with all nodes in int8.
        kept: with as few in float32 as its budget asks for.
    """
    yield f"**{trial.name}**, {trial.measure}, budget {trial.budget}: {plain['verdict']}, {plain['reason']}."
    yield f"`--within-budget`: {kept['verdict']}, {kept['reason']}."
    yield ""
    yield "| nodes in float32 | loses | at most |"
    yield "|---|---|---|"
    for step in kept["variant"]["path"]:
        yield f"| {len(step['kept'])} | {step['loss']:.2%} | {step['high']:.2%} |"
    yield ""
    nodes = ", ".join(f"`{name}`" for name in kept["variant"]["kept"])
    yield f"Kept: {nodes or 'none'}."


def main() -> None:
    """Run both models and print what docs/variants.md has."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--select", metavar="GLOB", default="*", help="names of models")
    parser.add_argument("--samples", type=int, default=400, help="crops to evaluate on")
    parser.add_argument("--json", metavar="FILE", type=Path, help="also write the results there")
    options = parser.parse_args()
    os.environ[_VARIABLE] = str(options.samples)
    results = {}
    with tempfile.TemporaryDirectory(prefix="assay-store-") as store:
        os.environ.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{store}/mlflow.db")
        for trial in TRIALS:
            if fnmatch.fnmatch(trial.name, options.select):
                results[trial.name] = [run(trial), run(trial, "--within-budget", "--no-timing")]
                print("\n".join(table(trial, *results[trial.name])), flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
