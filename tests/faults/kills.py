"""Kill exports with SIGKILL at random moments and right after each step, and count what is wrong after the next one.

python tests/faults/kills.py [--random 60] [--boundaries 20] [--seed 0] [--counts FILE] [--write docs/reliability.md]

Those at random moments are of the command as a user starts it; the others of processes that have imported everything,
as a sweep's. After every five kills an export comes to its end, and then everything is counted. With --counts it goes
on where it was interrupted.
"""

import argparse
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[2])

from tests.faults.place import Place, warmed  # noqa: E402
from tests.faults.table import Counts, read_counts, write_rows  # noqa: E402

STEPS = ("fetch_weights", "instantiate_model", "create_inputs", "export_onnx", "validate_onnx", "log_export")
RANDOM, AFTER = "at random moments", "right after "
TOGETHER = 5
"""Kills before an export that comes to its end."""


def main(arguments: list[str] | None = None) -> int:
    """Run the bench; the exit status is 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--random", type=int, default=60, help="kills at random moments")
    parser.add_argument("--boundaries", type=int, default=20, help="kills after each step")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=600.0, help="after which no further kill is begun")
    parser.add_argument("--counts", type=Path, help="JSON with the counts so far: what is in it is not done again")
    parser.add_argument("--write", type=Path, help="write the rows of the table there")
    options = parser.parse_args(arguments)
    print(f"seed {options.seed}", flush=True)
    wanted = {RANDOM: options.random, **{f"{AFTER}{step}": options.boundaries for step in STEPS}}
    counted = read_counts(options.counts, wanted)
    with tempfile.TemporaryDirectory(prefix="ak") as folder:
        for _ in bench(Place(Path(folder, "p")), options.seed, (wanted, counted), options.minutes):
            print(json.dumps(counted), flush=True)
            if options.counts:
                options.counts.write_text(json.dumps(counted))
    if options.write:
        write_rows(options.write, {kind: faults for kind, faults in counted.items() if faults["kills"]})
    return int(any(number for faults in counted.values() for what, number in faults.items() if what != "kills"))


def bench(place: Place, seed: int, kinds: tuple[dict[str, int], Counts], minutes: float = 600.0) -> Iterator[None]:
    """Kill a few of each kind in turn, let one export come to its end, count; gives whenever it has counted.

    Args:
        place: of the exports.
        seed: of the moments.
        kinds: the kills that are wanted, and the counts so far, to which it adds.
        minutes: after which no further kill is begun.
    """
    wanted, counted = kinds
    deadline = time.monotonic() + 60 * minutes
    done = sum(faults["kills"] for faults in counted.values())
    numbers, chance = itertools.count(done), random.Random(f"{seed} {done}")
    aimed = {kind: number for kind, number in wanted.items() if kind != RANDOM}
    if any(counted[kind]["kills"] < number for kind, number in aimed.items()):
        with warmed(place):
            yield from _batches(place, (aimed, counted), numbers, chance, deadline)
    at_random = {kind: number for kind, number in wanted.items() if kind == RANDOM}
    yield from _batches(place, (at_random, counted), numbers, chance, deadline)


def _batches(
    place: Place, kinds: tuple[dict[str, int], Counts], numbers: Iterator[int], chance: random.Random, deadline: float
) -> Iterator[None]:
    wanted, counted = kinds
    seconds = 0.0
    while left := [kind for kind in wanted if counted[kind]["kills"] < wanted[kind]]:
        if not seconds:
            _, seconds = _complete(place, next(numbers))
        for kind in left:
            sessions, kills = [], 0
            for _ in range(min(TOGETHER, wanted[kind] - counted[kind]["kills"])):
                moment = chance.uniform(0, seconds) if kind == RANDOM else kind.removeprefix(AFTER)
                session, is_killed = _kill(place, next(numbers), moment)
                sessions.append(session)
                kills += is_killed
            exported, seconds = _complete(place, next(numbers))
            counted[kind].update({"kills": kills, **place.faults(exported, sessions)})
            yield
            if time.monotonic() > deadline:
                return


def _kill(place: Place, number: int, moment: float | str) -> tuple[int, bool]:
    """Kill one export; its session, and whether it was still at work."""
    process = place.start(number)
    assert process.stdout is not None
    if isinstance(moment, float):
        reader = threading.Thread(target=process.stdout.read, daemon=True)  # or its pipe would fill
        reader.start()
        time.sleep(moment)
    else:
        while line := process.stdout.readline():
            if line.strip().startswith(moment):
                break
    os.kill(process.pid, signal.SIGKILL)  # itself alone: what it started has to see that it is gone
    return process.pid, process.wait() == -signal.SIGKILL


def _complete(place: Place, number: int) -> tuple[dict[str, Any], float]:
    """An export that comes to its end: its result, and how long it took."""
    started = time.monotonic()
    process = place.start(number)
    try:
        said, _ = process.communicate(timeout=900)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    assert process.returncode == 0, said
    return place.result(), time.monotonic() - started


if __name__ == "__main__":
    raise SystemExit(main())
