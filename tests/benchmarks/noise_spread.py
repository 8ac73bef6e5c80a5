"""Spread of the noise ratios of true exports over torchvision's classification models, random weights.

    python tests/benchmarks/noise_spread.py [--select GLOB] [--seed N] [--write docs/noise_spread.md]

Each model goes through `flows/export.py` into a store of its own, four to a process; the limits of the
verdict are chosen from this table. All of them take more than an hour on 2 cores; with `--results FILE` an
interrupted run goes on where it was.
"""

import argparse
import fnmatch
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from torchvision import models

PROJECT = Path(__file__).resolve().parents[2]
NUM_MODELS_A_PROCESS = 4


def main() -> None:
    """Export, then print a line a model and the quantiles; exit 1 where one did not pass."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--select", metavar="GLOB", default="*", help="names of models")
    parser.add_argument("--seed", type=int, default=0, help="of the random weights")
    parser.add_argument("--results", metavar="FILE.json", type=Path, help="keep results there; skip what it holds")
    parser.add_argument("--write", metavar="FILE", type=Path, help="also write the table there")
    options = parser.parse_args()
    names = fnmatch.filter(models.list_models(module=models), options.select)
    results = json.loads(options.results.read_text()) if options.results and options.results.exists() else []
    known = {result["name"] for result in results}
    for result in _export([name for name in names if name not in known], options.seed):
        results.append(result)
        print(_row(result), flush=True)
        if options.results:
            options.results.write_text(json.dumps(results, indent=0))
    results.sort(key=lambda result: str(result["name"]))
    table = _table(results, options)
    print(table)
    if options.write:
        options.write.write_text(table)
    raise SystemExit(any(result["verdict"] != "pass" for result in results))


def _export(names: list[str], seed: int) -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="assay-benchmark-") as folder:
        environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
        for start in range(0, len(names), NUM_MODELS_A_PROCESS):
            chunk = names[start : start + NUM_MODELS_A_PROCESS]
            command = [sys.executable, "flows/export.py", *chunk, "--weights", f"random:{seed}", "--json", "-"]
            run = subprocess.run(
                command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
            yield from map(_figures, json.loads(run.stdout)["results"])


def _figures(result: dict[str, Any]) -> dict[str, Any]:
    """What the table needs of a result; NaN where nothing was compared."""
    outputs = result["parity"].values()
    worst = {key: max((float(o[key]) for o in outputs), default=float("nan")) for key in ("noise_ratio", "slice_ratio")}
    movement = min((float(o["power"]["movement"]) for o in outputs), default=float("nan"))
    kept = {key: result[key] for key in ("name", "verdict", "exporter")}
    return {**kept, **worst, "movement": movement, "seconds": round(sum(result["seconds"].values()))}


def _row(figures: dict[str, Any]) -> str:
    return (
        f"| {figures['name']} | {figures['verdict']} | {figures['noise_ratio']:.2f} | {figures['slice_ratio']:.2f} "
        f"| {figures['movement']:,.0f} | {figures['exporter']} | {figures['seconds']} |"
    )


def _table(results: list[dict[str, Any]], options: argparse.Namespace) -> str:
    passed = sum(result["verdict"] == "pass" for result in results)
    lines = [
        "# Noise ratios of true exports",
        "",
        f"`python tests/benchmarks/noise_spread.py --seed {options.seed}`: {passed} of the {len(results)} "
        f"classification models below pass with random weights; torchvision has "
        f"{len(models.list_models(module=models))}.",
        "",
        "| ratio | median | 90 % | 99 % | largest | limit |",
        "|---|---|---|---|---|---|",
    ]
    for key, limit in (("noise_ratio", 8), ("slice_ratio", 16)):
        ratios = [result[key] for result in results]
        figures = [*np.quantile(ratios, (0.5, 0.9, 0.99)), max(ratios)]
        lines.append(f"| {key.replace('_', ' ')} | {' | '.join(f'{f:.2f}' for f in figures)} | {limit} |")
    lines += ["", "| model | verdict | noise ratio | slice ratio | movement | exporter | seconds |"]
    lines += ["|---|---|---|---|---|---|---|", *map(_row, results), ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
