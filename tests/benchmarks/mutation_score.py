"""The mutation score: which broken files does Assay refuse, beside the tolerances that others use.

    python tests/benchmarks/mutation_score.py [--select GLOB] [--seeds N] [--rows FOLDER]
        [--write docs/mutation_score.md]

Each model of tests/models/panel.py is exported, and each mutation of tests/mutations is put into its file at a
few places. A mutant counts unless float64 shows that it is equivalent on the probes. The real models need
RW_SITE. All of it takes more than an hour on 2 cores: with --rows, what came of each model is kept in a folder, so that
a run that is cut short goes on with the next model, and several may share the models; empty it to begin anew.
"""

import argparse
import fnmatch
import pickle
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT))

from tasks.core.errors import AssayError  # noqa: E402  the project's folder comes first
from tasks.core.proof.validation import validate  # noqa: E402
from tests.benchmarks.mutation_table import figures, table  # noqa: E402
from tests.benchmarks.mutation_trials import ASSAY, Alarms, Outcome, raise_alarms, try_mutants  # noqa: E402
from tests.models.panel import PANEL, Entry, prepare  # noqa: E402
from tests.mutations import MUTATIONS  # noqa: E402


def _kept(entry: Entry, options: argparse.Namespace) -> tuple[list[Outcome], Alarms]:
    """What came of a model, from the folder if it is there; else it is run."""
    place: Path | None = options.rows and options.rows / f"{entry.name}.pickle"
    if place and place.exists():
        found: tuple[list[Outcome], Alarms] = pickle.loads(place.read_bytes())
        return found
    found = _run_entry(entry, options)
    if place:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(pickle.dumps(found))
    return found


def _run_entry(entry: Entry, options: argparse.Namespace) -> tuple[list[Outcome], Alarms]:
    alarms = Alarms()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="assay-mutants-") as folder:
        subject = prepare(entry, Path(folder))
        evidence = validate(subject.candidate, subject.reference, threads=1, keep=True).evidence
        mutants = Path(folder) / "mutants"
        mutants.mkdir()
        found = list(try_mutants(subject, mutants, num_places=options.places)) if evidence.verdict == "pass" else []
        if not options.no_false_alarms and (evidence.verdict == "pass" or not entry.may_be_inconclusive):
            raise_alarms(subject, options.seeds, alarms)
    counted = [o for o in found if not o.is_equivalent]
    caught = sum(ASSAY in o.caught_by for o in counted)
    print(
        f"{entry.name}: untouched {evidence.verdict}; {caught} of {len(counted)} caught, "
        f"{len(found) - len(counted)} equivalent; {time.perf_counter() - started:.0f} s",
        flush=True,
    )
    if evidence.verdict != "pass":
        print(f"    {' '.join(evidence.reasons)}", flush=True)
    for outcome in counted:
        if ASSAY not in outcome.caught_by:
            print(f"    {outcome.verdict}: {outcome.mutant.name}: {figures(outcome)}", flush=True)
    return found, alarms


def main() -> None:
    """Run the panel, print the table; exit 1 below 99 % or with a false alarm."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--select", metavar="GLOB", default="*", help="names of models of the panel")
    parser.add_argument("--seeds", type=int, default=5, help="of the probes of untouched files")
    parser.add_argument("--places", type=int, default=2, help="at which each mutation is put into a graph")
    parser.add_argument("--no-false-alarms", action="store_true", help="leave the untouched files out")
    parser.add_argument("--rows", metavar="FOLDER", type=Path, help="keep what came of each model there")
    parser.add_argument("--write", metavar="FILE", type=Path, help="also write the table there")
    options = parser.parse_args()
    outcomes: list[Outcome] = []
    alarms = Alarms()
    for entry in PANEL:
        if not fnmatch.fnmatch(entry.name, options.select):
            continue
        if entry.missing:
            print(f"{entry.name}: left out, {entry.missing}", flush=True)
            continue
        try:
            found, refused = _kept(entry, options)
        except AssayError as error:
            print(f"{entry.name}: {error}", flush=True)
            alarms.add(ASSAY, f"{entry.name}: {error}")
            continue
        outcomes += found
        alarms.include(refused)
    shown = table(outcomes, alarms, " ".join(["python tests/benchmarks/mutation_score.py", *sys.argv[1:]]))
    print(shown)
    if unused := {mutation.name for mutation in MUTATIONS} - {outcome.mutant.mutation for outcome in outcomes}:
        print(f"put into no file: {', '.join(sorted(unused))}")
    if options.write:
        options.write.write_text(shown)
    counted = [o for o in outcomes if not o.is_equivalent]
    is_good = sum(ASSAY in o.caught_by for o in counted) >= 0.99 * len(counted)
    raise SystemExit(not is_good or bool(alarms.refused.get(ASSAY)))


if __name__ == "__main__":
    main()
