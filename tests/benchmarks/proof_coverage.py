"""What the proof covers: each model's weights, by what became of them in the files of both exporters.

    python tests/benchmarks/proof_coverage.py [--select GLOB] [--rows FILE.json] [--minutes N]
        [--write docs/proof_coverage.md]

The models are those of tests/models/panel.py and forty of torchvision's, each family by a small member, with random
weights; the real ones need RW_SITE. Each row is kept in FILE.json as soon as it is there, so that a run that is cut
short goes on with the next one; delete the file to begin anew. Ends with 1 if a file passed of whose weights an element
was neither found nor exercised. Pictures are small: what becomes of a weight hardly depends on their size.
"""

import argparse
import fnmatch
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT))

from tasks.core.accounting.constants import FOLDED, IDENTICAL, NARROWED, REARRANGED  # noqa: E402
from tasks.core.errors import AssayError  # noqa: E402
from tasks.core.proof.validation import validate  # noqa: E402
from tasks.core.records.evidence import Evidence  # noqa: E402
from tests.models.panel import PANEL, Entry, prepare  # noqa: E402

EXPORTERS = ("torchscript", "dynamo")
KINDS = (IDENTICAL, REARRANGED, NARROWED, FOLDED)
_BY_INPUTS = {
    "x=float32[batch,3,64,64]": (
        "squeezenet1_1", "shufflenet_v2_x0_5", "mnasnet0_5", "mobilenet_v2", "mobilenet_v3_small", "regnet_x_400mf",
        "regnet_y_400mf", "resnet18", "resnext50_32x4d", "wide_resnet50_2", "densenet121", "efficientnet_b0",
        "efficientnet_v2_s", "convnext_tiny", "googlenet", "vgg11", "vgg11_bn", "alexnet", "swin_t", "swin_v2_t",
        "quantized_mobilenet_v2", "quantized_resnet18", "quantized_shufflenet_v2_x0_5",
        "deeplabv3_mobilenet_v3_large", "fcn_resnet50",
    ),
    "x=float32[batch,3,96,96]": ("inception_v3",),
    "input=float32[batch,3,64,64]": ("lraspp_mobilenet_v3_large",),
    "x=float32[batch,3,4,32,32]": ("r3d_18", "mc3_18", "r2plus1d_18"),
    "x=float32[batch,3,16,32,32]": ("s3d",),
    "x=float32[batch,3,4,64,64]": ("swin3d_t",),
    "": (  # those whose size is fixed, or that take lists
        "vit_b_32", "maxvit_t", "raft_small", "mvit_v2_s", "ssdlite320_mobilenet_v3_large",
        "fasterrcnn_mobilenet_v3_large_320_fpn", "retinanet_resnet50_fpn", "keypointrcnn_resnet50_fpn",
    ),
}  # fmt: skip
TORCHVISION = tuple(
    Entry(name, "torchvision", (inputs,) if inputs else (), model=name)
    for inputs, names in _BY_INPUTS.items()
    for name in names
)
HEAD = ("model", "exporter", "weights", *KINDS, "exercised", "unaccounted", "covered", "unexplained", "verdict", "s")
Row = dict[str, Any]


def main() -> None:
    """Fill in the rows that are not there yet, a line each, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--select", metavar="GLOB", default="*", help="names of models")
    parser.add_argument("--rows", metavar="FILE", type=Path, default=PROJECT / "proof_coverage.json")
    parser.add_argument("--minutes", type=float, default=1e9, help="after which no further file is begun")
    parser.add_argument("--write", metavar="FILE", type=Path, help="also write the table there")
    options = parser.parse_args()
    until = time.monotonic() + 60 * options.minutes
    rows: dict[str, Row] = json.loads(options.rows.read_text()) if options.rows.exists() else {}
    for entry in wanted(options.select):
        key = f"{entry.name}/{entry.exporter}"
        if key in rows or time.monotonic() > until:
            continue
        if entry.missing:
            print(f"{key}: left out, {entry.missing}", flush=True)
            continue
        rows[key] = measure(entry)
        print(line(rows[key]), flush=True)
        options.rows.write_text(json.dumps(rows, indent=1))
    text = table(list(rows.values()))
    if options.write:
        options.write.write_text(text)
    raise SystemExit(bool(uncovered(list(rows.values()))))


def wanted(glob: str = "*") -> Iterator[Entry]:
    """Each model by each exporter."""
    for entry in (*PANEL, *TORCHVISION):
        if fnmatch.fnmatch(entry.name, glob):
            yield from (replace(entry, exporter=exporter) for exporter in EXPORTERS)


def measure(entry: Entry) -> Row:
    """Export and prove one model; an exporter that fails has a row, too."""
    started = time.perf_counter()
    row: Row = {"model": entry.name, "exporter": entry.exporter}
    with tempfile.TemporaryDirectory(prefix="assay-coverage-") as folder:
        try:
            subject = prepare(entry, Path(folder))
            evidence = validate(subject.candidate, subject.reference, random_weights=entry.weights == "random").evidence
        except AssayError as error:
            row |= {"verdict": "error", "reason": str(error)}
        else:
            row |= {"verdict": evidence.verdict, "reason": " ".join(evidence.reasons), **figures(evidence)}
    return {**row, "s": round(time.perf_counter() - started)}


def figures(evidence: Evidence) -> Row:
    """What became of the weights, counted; nothing where they could not be looked at."""
    found = evidence.coverage
    if found is None:
        return {}
    unaccounted = [weight.name for weight in found.missing if weight.num_unexercised]
    return {
        "weights": found.num_weights,
        **{kind: getattr(found, kind) for kind in KINDS},
        "exercised": len(found.missing) - len(unaccounted),
        "unaccounted": len(unaccounted),
        "covered": found.share,
        "unexplained": list(found.unexplained),
        "missing": [weight.model_dump() for weight in found.missing],
    }


def uncovered(rows: Sequence[Row]) -> list[Row]:
    """Files that passed though not every element of their weights was found or exercised."""
    return [row for row in rows if row["verdict"] == "pass" and row.get("covered") != 1.0]


def line(row: Row) -> str:
    """A row of the table."""
    cells = {**row, "unexplained": len(row["unexplained"])} if "unexplained" in row else dict(row)
    if "covered" in row:
        # rounded down: 99.9999 % is not all
        cells["covered"] = "100 %" if row["covered"] == 1.0 else f"{int(row['covered'] * 1e4) / 100:.2f} %"
    return f"| {' | '.join(str(cells.get(key, '-')) for key in HEAD)} |"


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown, with totals, and the reasons for all that did not pass."""
    passed = [row for row in rows if row["verdict"] == "pass"]
    counted = {key: sum(row.get(key, 0) for row in passed) for key in ("weights", *KINDS, "exercised")}
    covered = len(passed) - len(uncovered(rows))
    lines = [
        "# Proof coverage",
        "",
        "`python tests/benchmarks/proof_coverage.py --write docs/proof_coverage.md`: what became of the weights that "
        f"forward uses, in {len(rows)} files of {len({row['model'] for row in rows})} models.",
        "",
        f"**{covered} of {len(passed)} files that pass have every element of every weight, or a probe exercised it**: "
        + ", ".join(f"{counted[key]:,} {key}" for key in ("weights", *KINDS, "exercised"))
        + ".",
        "",
        "`exercised` and `unaccounted` are weights of which the file does not have every element; `covered` is the "
        "share of elements; `unexplained` are constants of 16 and more floats that no weight explains.",
        "",
        f"| {' | '.join(HEAD)} |",
        f"|{'---|' * len(HEAD)}",
        *map(line, rows),
        "",
    ]
    for title, texts in (
        ("Not passed", [f"{row['verdict']}: {row['reason']}" if row["reason"] else "" for row in rows]),
        ("Not found, but exercised", [_names(row) for row in rows]),
        ("Unexplained", [", ".join(row.get("unexplained", ())) for row in rows]),
    ):
        said = [f"- {r['model']}, {r['exporter']}: {text}" for r, text in zip(rows, texts, strict=True) if text]
        lines += [f"## {title}", "", *said, ""] if said else []
    known = {(row["model"], row["exporter"]) for row in rows}
    left = [f"{entry.name} ({entry.exporter})" for entry in wanted() if (entry.name, entry.exporter) not in known]
    return "\n".join([*lines, f"Not measured yet: {', '.join(left)}.", ""] if left else lines)


def _names(row: Row) -> str:
    return ", ".join(weight["name"] for weight in row.get("missing", ()) if not weight["num_unexercised"])


if __name__ == "__main__":
    main()
