"""Export in eight processes at once, of one model and of eight, and count versions and aliases.

python tests/faults/together.py [--rounds 5] [--processes 8] [--write docs/reliability.md]

The store is SQLite, or what --store names: an empty database of PostgreSQL, a tracking server.
"""

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[2])

from tests.faults.place import Place  # noqa: E402
from tests.faults.table import write_rows  # noqa: E402


def main(arguments: list[str] | None = None) -> int:
    """Run the bench; the exit status is 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--store", help="tracking URI; default: a new SQLite store")
    parser.add_argument("--write", type=Path, help="write the rows of the table there")
    options = parser.parse_args(arguments)
    counted: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory(prefix="at") as folder:
        place = Place(Path(folder, "p"))
        if options.store:
            place.environment["MLFLOW_TRACKING_URI"] = options.store
        for number in range(options.rounds):
            for kind, names in (
                ("one model", [f"same{number}"] * options.processes),
                ("as many models", [f"other{number}x{which}" for which in range(options.processes)]),
            ):
                counted.setdefault(f"{options.processes} processes, {kind}", Counter()).update(together(place, names))
                print(counted, flush=True)
    if options.write:
        write_rows(options.write, counted, part="together")
    return int(any(counts["failed"] or counts["wrong aliases"] for counts in counted.values()))


def together(place: Place, names: list[str]) -> Counter[str]:
    """Export at once under these names: how many failed, were unchanged, made versions, left a wrong alias.

    Args:
        place: of the exports.
        names: of the registered models, one a process.
    """
    processes = [place.start(0, name=name, json=f"{which}.json") for which, name in enumerate(names)]
    said = [process.communicate()[0] for process in processes]
    for process, words in zip(processes, said, strict=True):
        if process.returncode:
            print(words, flush=True)
    results = [place.result(f"{which}.json") for which in range(len(names))]
    newest = {name: place.alias_of(name) for name in set(names)}
    return Counter({
        "rounds": 1,
        "failed": sum(process.returncode != 0 for process in processes),
        "unchanged": sum(bool(result["unchanged"]) for result in results),
        "versions": len({(result["name"], result["version"]) for result in results}),
        "wrong aliases": sum(newest[result["name"]] != str(result["version"]) for result in results),
    })  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
