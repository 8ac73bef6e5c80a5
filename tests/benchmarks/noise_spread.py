"""Spread of the noise ratios of true exports over torchvision's models; the limits of the verdict are chosen from it.

    python tests/benchmarks/noise_spread.py RESULTS.json [--write docs/noise_spread.md]

RESULTS.json is what `python flows/sweep.py --all-torchvision --weights random --json RESULTS.json` wrote; it is
that of coverage.py, too.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT))

from tasks.core.limits import NOISE_LIMIT, SLICE_LIMIT  # noqa: E402  the project's folder comes first

LIMITS = {"noise_ratio": NOISE_LIMIT, "slice_ratio": SLICE_LIMIT}
Result = dict[str, Any]


def main() -> None:
    """Print or write the table; exit 1 where a model did not pass."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--write", metavar="FILE", type=Path, help="write the table there")
    options = parser.parse_args()
    results = json.loads(options.results.read_text())["results"]
    text = report(results, source=options.results.name)
    if options.write is None:
        print(text)
    else:
        options.write.write_text(text)
    raise SystemExit(any(result["verdict"] != "pass" for result in results))


def report(results: Sequence[Result], *, source: str) -> str:
    """The quantiles, and a line a model.

    Args:
        results: as `--json` has them.
        source: name of their file.
    """
    compared = sorted((result for result in results if result["parity"]), key=lambda result: str(result["name"]))
    passed = sum(result["verdict"] == "pass" for result in compared)
    lines = [
        "# Noise ratios of true exports",
        "",
        f"`python flows/sweep.py --all-torchvision --weights random --json {source}`, then "
        f"`python tests/benchmarks/noise_spread.py {source} --write docs/noise_spread.md`: {passed} of "
        f"{len(compared)} models of torchvision pass.",
        "",
        "| ratio | median | 90 % | 99 % | largest | limit |",
        "|---|---|---|---|---|---|",
    ]
    for key, limit in LIMITS.items():
        ratios = [_worst(result, key) for result in compared]
        figures = [*np.quantile(ratios, (0.5, 0.9, 0.99)), max(ratios)]
        lines.append(f"| {key.replace('_', ' ')} | {' | '.join(f'{f:.2f}' for f in figures)} | {limit:g} |")
    lines += ["", "| model | verdict | noise ratio | slice ratio | movement | exporter |", "|---|---|---|---|---|---|"]
    return "\n".join([*lines, *map(_row, compared), ""])


def _worst(result: Result, key: str) -> float:
    return max(float(output[key]) for output in result["parity"].values())


def _row(result: Result) -> str:
    movement = min(float(output["power"]["movement"]) for output in result["parity"].values())
    ratios = (f"{_worst(result, key):.2f}" for key in LIMITS)
    return f"| {result['name']} | {result['verdict']} | {' | '.join(ratios)} | {movement:,.0f} | {result['exporter']} |"


if __name__ == "__main__":
    main()
