"""Which models of transformers and timm are proven: tiny ones of transformers, small ones of timm, random weights.

    python tests/benchmarks/coverage_families.py transformers|timm [--select GLOB] [--rows FILE.json] [--minutes N]
        [--write docs/coverage_transformers.md]

Each model is exported by its name with nothing else said, in a process of its own. Its row is kept in FILE.json as soon
as it is there, so that a run that is cut short goes on with the next one; delete the file to begin anew. Models of
transformers are those of tests/models/tiny_architectures.py, saved to folders first; of timm those of small_timm.py.
"""

import argparse
import fnmatch
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT))

from tests.models.small_timm import SMALL  # noqa: E402
from tests.models.tiny_architectures import ARCHITECTURES  # noqa: E402

NAMES = {"transformers": tuple(ARCHITECTURES), "timm": SMALL}
HEAD = ("model", "inputs", "outputs", "exporter", "noise", "verdict", "s")
LIMIT_SECONDS = 900
Row = dict[str, Any]


def main() -> None:
    """Fill in the rows that are not there yet, a line each, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", choices=tuple(NAMES))
    parser.add_argument("--select", metavar="GLOB", default="*", help="names of models")
    parser.add_argument("--rows", metavar="FILE", type=Path, help="default coverage_LIBRARY.json")
    parser.add_argument("--minutes", type=float, default=1e9, help="after which no further model is begun")
    parser.add_argument("--write", metavar="FILE", type=Path, help="also write the table there")
    parser.add_argument("--one", metavar="MODEL", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print("\n" + json.dumps(measure(options.library, options.one)))
        return
    file = options.rows or PROJECT / f"coverage_{options.library}.json"
    until = time.monotonic() + 60 * options.minutes
    rows: dict[str, Row] = json.loads(file.read_text()) if file.exists() else {}
    for name in fnmatch.filter(NAMES[options.library], options.select):
        if name in rows or time.monotonic() > until:
            continue
        rows[name] = apart(options.library, name)
        print(line(rows[name]), rows[name].get("reason", "")[:300], flush=True)
        file.write_text(json.dumps(rows, indent=1))
    known = [rows[name] for name in NAMES[options.library] if name in rows]
    if options.write:
        options.write.write_text(table(options.library, known))


def apart(library: str, name: str) -> Row:
    """Measure a model in a process of its own, which is given up after a while."""
    command = [sys.executable, __file__, library, "--one", name]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "HF_HUB_OFFLINE": "1"}
    started = time.perf_counter()
    try:
        ran = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=LIMIT_SECONDS)
        row: Row = json.loads(ran.stdout.splitlines()[-1]) if ran.returncode == 0 else {
            "verdict": "error", "reason": " ".join(ran.stderr.splitlines()[-1:])
        }  # fmt: skip
    except subprocess.TimeoutExpired:
        row = {"verdict": "error", "reason": f"not done after {LIMIT_SECONDS} s"}
    return {"model": name, **row, "s": round(time.perf_counter() - started)}


def measure(library: str, name: str) -> Row:
    """Export and prove one model by its name alone."""
    from tasks.core.errors import AssayError
    from tasks.core.export.fallback import export
    from tasks.core.inputs.choice import choose_inputs
    from tasks.core.model.building import build_with_weights
    from tasks.core.proof.validation import validate
    from tasks.core.reference.reference import Reference
    from tasks.core.spec.export_spec import ExportSpec
    from tasks.core.spec.resolve import check, resolve
    from tasks.core.weights.sources import find_weights

    with tempfile.TemporaryDirectory(prefix="assay-coverage-") as folder:
        model = f"timm:{name}"
        if library == "transformers":
            model = f"hf:{folder}/{name}"
            ARCHITECTURES[name]().save_pretrained(Path(folder) / name)
        row: Row = {}
        try:
            spec = resolve(ExportSpec(model=model, weights="random"))
            check(spec)
            module, _ = build_with_weights(spec, find_weights(spec, lambda uri: Path(uri)))
            inputs = choose_inputs(spec, module)
            row["inputs"] = ", ".join(f"{item.name}[{', '.join(d.name or str(d.size) for d in item.dims)}]"
                                      for item in inputs.specs)  # fmt: skip
            reference = Reference(module, inputs)
            candidate, _ = export(spec, reference, provenance={}, folder=Path(folder))
            row["outputs"] = ", ".join(
                f"{item.name}{list(item.dims)}".replace("'", "") for item in candidate.graph.outputs
            )
            row["exporter"] = candidate.graph.exporter
            evidence = validate(candidate, reference, random_weights=True).evidence
        except AssayError as error:
            return {**row, "verdict": "error", "reason": str(error)}
        ratios = [output.noise_ratio for output in evidence.outputs if output.noise_ratio is not None]
        noise = f"{max(ratios):.2g}" if ratios else "-"
        return {**row, "verdict": evidence.verdict, "noise": noise, "reason": " ".join(evidence.reasons)}


def line(row: Row) -> str:
    """A row of the table."""
    return f"| {' | '.join(str(row.get(key, '-')) for key in HEAD)} |"


def table(library: str, rows: Sequence[Row]) -> str:
    """The rows as Markdown, and the reasons of all that did not pass."""
    passed = sum(row["verdict"] == "pass" for row in rows)
    absent = [name for name in NAMES[library] if name not in {row["model"] for row in rows}]
    said = [f"* {row['model']} ({row['verdict']}): {row['reason']}" for row in rows if row["verdict"] != "pass"]
    lines = [
        f"# Coverage of {library}",
        "",
        f"`python tests/benchmarks/coverage_families.py {library} --write docs/coverage_{library}.md`: each model "
        "exported by its name, with random weights and nothing else said.",
        "",
        f"**{passed} of {len(rows)} pass.**" + (f" Not run: {', '.join(absent)}." if absent else ""),
        "",
        "`noise` is the worst noise ratio of any output, `s` are seconds with all imports.",
        "",
        f"| {' | '.join(HEAD)} |",
        f"|{'---|' * len(HEAD)}",
        *map(line, rows),
        "",
        *(["## Not proven", "", *said, ""] if said else []),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
