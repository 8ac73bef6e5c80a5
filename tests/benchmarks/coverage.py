"""Which of torchvision's models are proven, and what is dynamic in their files.

    python tests/benchmarks/coverage.py RESULTS.json [--write docs/coverage.md]

RESULTS.json is what `--json` of flows/export.py or flows/sweep.py wrote.
"""

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.filesize import decimal
from torchvision import models

FAMILIES = {
    "classification": models,
    "segmentation": models.segmentation,
    "video": models.video,
    "optical flow": models.optical_flow,
    "detection and keypoints": models.detection,
    "quantized (as float models)": models.quantization,
}
Result = dict[str, Any]


def main() -> None:
    """Print or write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--write", type=Path, metavar="FILE")
    options = parser.parse_args()
    text = report(json.loads(options.results.read_text())["results"], source=options.results.name)
    if options.write is None:
        print(text)
    else:
        options.write.write_text(text)


def report(results: Sequence[Result], *, source: str) -> str:
    """Totals, one table a family, and the reasons for what is static."""
    names = models.list_models()
    absent = sorted(set(names) - {result["name"] for result in results})
    reasons = _reasons(results)
    lines = [
        "# Coverage of torchvision",
        "",
        f"`python flows/sweep.py --all-torchvision --weights random --json {source}`, then "
        f"`python tests/benchmarks/coverage.py {source} --write docs/coverage.md`",
        "",
        _totals(results, len(names)),
        "",
        "| family | models | " + " | ".join(_verdicts(results)) + " | not run | fully dynamic |",
        "|---|---|" + "---|" * (len(_verdicts(results)) + 2),
    ]
    families = {title: [r for r in results if r["name"] in models.list_models(m)] for title, m in FAMILIES.items()}
    for title, found in families.items():
        num_models = len(models.list_models(FAMILIES[title]))
        counts = Counter(result["verdict"] for result in found)
        cells = [*(counts[verdict] for verdict in _verdicts(results)), num_models - len(found)]
        cells.append(sum(_is_fully_dynamic(result) for result in found))
        lines.append(f"| {title} | {num_models} | {' | '.join(map(str, cells))} |")
    for title, found in families.items():
        lines += _table(title, found, reasons) if found else []
    lines += ["", "## What is static, and why", ""] if reasons else []
    lines += [f"{mark}. {what}: {why}." for (what, why), mark in reasons.items()]
    lines += ["", f"Not run: {', '.join(absent)}."] if absent else []
    unproven = [result for result in results if result["verdict"] != "pass"]
    lines += ["", "## Not proven", ""] if unproven else []
    lines += [f"* {result['name']} ({result['verdict']}): {result['reason']}" for result in unproven]
    return "\n".join([*lines, ""])


def _totals(results: Sequence[Result], num_models: int) -> str:
    passed = [result for result in results if result["verdict"] == "pass"]
    dynamic = sum(_is_fully_dynamic(result) for result in passed)
    hours = sum(sum(result["seconds"].values()) for result in results) / 3600
    return (
        f"**{len(passed)} of torchvision's {num_models} models pass**; {dynamic} of them with nothing static, "
        f"{len(passed) - dynamic} with something static for the reason named. "
        f"{len(results)} were run, {hours:.1f} hours in all, each model's seconds added up."
    )


def _verdicts(results: Sequence[Result]) -> list[str]:
    """`pass` first, and those that came up."""
    found = {result["verdict"] for result in results}
    return ["pass", *(v for v in ("fail", "inconclusive", "error") if v in found)]


def _reasons(results: Sequence[Result]) -> dict[tuple[str, str], str]:
    """A letter for each reason why something is static."""
    pairs = dict.fromkeys(pair for result in results for pair in result["static"].items())
    return {pair: chr(ord("a") + index) for index, pair in enumerate(pairs)}


def _is_fully_dynamic(result: Result) -> bool:
    """Proven, and nothing that one might expect to be dynamic is static."""
    return result["verdict"] == "pass" and not result["static"]


def _table(title: str, results: Sequence[Result], reasons: dict[tuple[str, str], str]) -> list[str]:
    return [
        "",
        f"## {title.capitalize()}",
        "",
        "| model | verdict | noise ratio | slice ratio | dynamic | static | exporter | nodes | size | seconds |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(_row(result, reasons) for result in results),
    ]


def _row(result: Result, reasons: dict[tuple[str, str], str]) -> str:
    outputs = result["parity"].values()
    ratios = [
        f"{max(float(output[key]) for output in outputs):.2f}" if outputs else "-"
        for key in ("noise_ratio", "slice_ratio")
    ]
    dynamic = dict.fromkeys(dim["name"] for dim in result["dims"] if dim["in_file"])
    static = [f"{what} ({reasons[what, why]})" for what, why in result["static"].items()]
    cells = [
        result["name"],
        result["verdict"],
        *ratios,
        ", ".join(dynamic) or "-",
        ", ".join(static) or "-",
        result["exporter"] or "-",
        f"{result['num_nodes']:,}" if result["num_nodes"] else "-",
        decimal(result["size_bytes"]) if result["size_bytes"] else "-",
        f"{sum(result['seconds'].values()):.0f}",
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
