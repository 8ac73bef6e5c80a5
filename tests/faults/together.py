"""Export in eight processes at once, of one model and of eight, and count versions and aliases.

python tests/faults/together.py [--rounds 5] [--processes 8] [--counts FILE] [--write docs/reliability.md]

The stores are new ones in SQLite and in PostgreSQL, which has to be installed. The processes have imported everything,
so that they meet in the store. With --counts it goes on where it was interrupted.
"""

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[2])

from tests.faults.place import Place, warmed  # noqa: E402
from tests.faults.table import Counts, read_counts, write_rows  # noqa: E402
from tests.services.postgresql import postgresql  # noqa: E402

STORES = ("SQLite", "PostgreSQL")


def main(arguments: list[str] | None = None) -> int:
    """Run the bench; the exit status is 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--stores", nargs="+", choices=STORES, default=STORES)
    parser.add_argument("--counts", type=Path, help="JSON with the counts so far: what is in it is not done again")
    parser.add_argument("--write", type=Path, help="write the rows of the table there")
    options = parser.parse_args(arguments)
    kinds = (f"{options.processes} processes, one model", f"{options.processes} processes, as many models")
    counted = read_counts(options.counts, (f"{kind}, {store}" for store in options.stores for kind in kinds))
    with ExitStack() as stack:
        places = {store: _place(store, stack) for store in options.stores}
        stack.enter_context(warmed(*places.values()))
        for _ in bench(places, counted, rounds=options.rounds, num_processes=options.processes):
            print(json.dumps(counted), flush=True)
            if options.counts:
                options.counts.write_text(json.dumps(counted))
    if options.write:
        write_rows(options.write, counted, part="together")
    return int(any(counts["failed"] or counts["wrong aliases"] for counts in counted.values()))


def _place(store: str, stack: ExitStack) -> Place:
    """Where is exported to a store, which lives as long as the stack."""
    place = Place(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="at")), "p"))
    if store == "PostgreSQL":
        place.environment["MLFLOW_TRACKING_URI"] = stack.enter_context(postgresql()).database("together")
    return place


def bench(places: dict[str, Place], counted: Counts, *, rounds: int, num_processes: int) -> Iterator[None]:
    """Export at once, round after round, and add to the counts; gives whenever it has added.

    Args:
        places: by store.
        counted: so far, by what was done.
        rounds: of each.
        num_processes: at once.
    """
    for number in range(rounds):
        for what, counts in counted.items():
            if counts["rounds"] <= number:
                *_, kind, store = what.split(", ")
                is_one = kind == "one model"
                names = [f"{'same' if is_one else f'other{which}x'}{number}" for which in range(num_processes)]
                counts.update(together(places[store], names))
                yield


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
        "versions": len({(result["name"], result["version"]) for result in results if result["version"]}),
        "wrong aliases": sum(newest.get(result["name"]) != str(result["version"]) for result in results),
    })  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
