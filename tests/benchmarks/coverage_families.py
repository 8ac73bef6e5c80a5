"""Which models of transformers and timm are proven: tiny ones of transformers, small ones of timm, random weights.

    python tests/benchmarks/coverage_families.py transformers|timm [--select GLOB] [--rows FILE.json] [--minutes N]
        [--write docs/coverage_transformers.md]

Each model is exported by its name with nothing else said. One process beside this one imports the libraries and takes
row after row; it is given up where a row takes too long, and another one begins. A row is kept in FILE.json as soon
as it is there, so that a run that is cut short goes on with the next one; delete the file to begin anew. Models of
transformers are those of tests/models/tiny_architectures.py, saved to folders first; of timm those of small_timm.py.
"""

import argparse
import contextlib
import fnmatch
import json
import multiprocessing
import os
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT))

from tests.models.small_timm import SMALL  # noqa: E402
from tests.models.tiny_architectures import ARCHITECTURES  # noqa: E402

if TYPE_CHECKING:
    from tasks.core.inputs.inputs import Inputs
    from tasks.core.spec.export_spec import ResolvedSpec

NAMES = {"transformers": tuple(ARCHITECTURES), "timm": SMALL}
HEAD = ("model", "inputs", "outputs", "exporter", "noise", "verdict", "s")
LIMIT_SECONDS = 600
SIDE = 96
"""Height and width in pixels at which models of timm are traced that take pictures of any size."""
SAID = {"transformers": "", "timm": f", but to be traced at {SIDE} pixels where it takes pictures of any size"}
Row = dict[str, Any]


def main() -> None:
    """Fill in the rows that are not there yet, a line each, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", choices=tuple(NAMES))
    parser.add_argument("--select", metavar="GLOB", default="*", help="names of models")
    parser.add_argument("--rows", metavar="FILE", type=Path, help="default coverage_LIBRARY.json")
    parser.add_argument("--minutes", type=float, default=1e9, help="after which no further model is begun")
    parser.add_argument("--write", metavar="FILE", type=Path, help="also write the table there")
    options = parser.parse_args()
    file = options.rows or PROJECT / f"coverage_{options.library}.json"
    until = time.monotonic() + 60 * options.minutes
    rows: dict[str, Row] = json.loads(file.read_text()) if file.exists() else {}
    beside = Beside(options.library)
    for name in fnmatch.filter(NAMES[options.library], options.select):
        if name in rows or time.monotonic() > until:
            continue
        rows[name] = beside.row(name)
        print(line(rows[name]), rows[name].get("reason", "")[:300], flush=True)
        file.write_text(json.dumps(rows, indent=1))
    known = [rows[name] for name in NAMES[options.library] if name in rows]
    if options.write:
        options.write.write_text(table(options.library, known))


class Beside:
    """A process that measures one model after another."""

    def __init__(self, library: str) -> None:
        self.library = library
        self.begin()

    def begin(self) -> None:
        """Start it; it ends with this one."""
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        self.process = context.Process(target=measure_all, args=(self.library, other), daemon=True)
        self.process.start()
        other.close()

    def row(self, name: str) -> Row:
        """Measure a model; where that takes too long or ends the process, say so and start another one."""
        started = time.perf_counter()
        self.connection.send(name)
        row: Row = {"verdict": "error", "reason": f"not done after {LIMIT_SECONDS} s"}
        try:
            done = self.connection.poll(LIMIT_SECONDS)
            row = self.connection.recv() if done else row
        except (EOFError, OSError):
            done, row = False, {"verdict": "error", "reason": "its process ended"}
        if not done:
            self.process.kill()
            self.process.join()
            self.begin()
        return {"model": name, **row, "s": round(time.perf_counter() - started)}


def measure_all(library: str, connection: Connection) -> None:
    """Answer names with rows, until the other side is closed."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    while True:
        try:
            name = connection.recv()
        except EOFError:
            return
        try:
            row = measure(library, name)
        except Exception as error:  # whatever it is, the other models are still to be measured
            row = {"verdict": "error", "reason": f"{type(error).__name__}: {error}"}
        connection.send(row)


def measure(library: str, name: str) -> Row:
    """Export and prove one model by its name alone."""
    from tasks.core.errors import AssayError
    from tasks.core.export.fallback import export
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
            inputs = small_inputs(spec, module)
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


def small_inputs(spec: "ResolvedSpec", module: Any) -> "Inputs":
    """Inputs as they are derived, but of models of timm that take any height and width small ones."""
    from tasks.core.errors import AssayError
    from tasks.core.families.registry import family_of
    from tasks.core.forward.arguments import forward_parameters
    from tasks.core.inputs.choice import choose_inputs
    from tasks.core.spec.resolve import make_spec, resolve

    derived = family_of(spec.model).default_inputs(spec.model, module, forward_parameters(module))
    small = [re.sub(r"(height|width)=\d+", rf"\1={SIDE}", text) for text in derived]
    if spec.model.startswith("timm:") and tuple(small) != derived:
        with contextlib.suppress(AssayError):  # too small for it
            return choose_inputs(resolve(make_spec(model=spec.model, weights="random", inputs=small)), module)
    return choose_inputs(spec, module)


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
        f"exported by its name, with random weights and nothing else said{SAID[library]}.",
        "",
        f"**{passed} of {len(rows)} pass.**" + (f" Not run: {', '.join(absent)}." if absent else ""),
        "",
        "`noise` is the worst noise ratio of any output, `s` are seconds, of the first row with all imports.",
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
