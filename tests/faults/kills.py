"""Kill exports with SIGKILL at random moments and right after each step, and count what is wrong after the next one.

python tests/faults/kills.py [--random 60] [--boundaries 20] [--seed 0] [--write docs/reliability.md]

After every five kills an export comes to its end, and then everything is counted.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[2])

from tests.faults.place import Place  # noqa: E402
from tests.faults.table import write_rows  # noqa: E402

STEPS = ("fetch_weights", "instantiate_model", "create_inputs", "export_onnx", "validate_onnx", "log_export")
TOGETHER = 5
"""Kills before an export that comes to its end."""


def main(arguments: list[str] | None = None) -> int:
    """Run the bench; the exit status is 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--random", type=int, default=60, help="kills at random moments")
    parser.add_argument("--boundaries", type=int, default=20, help="kills after each step")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=600.0, help="after which no further kill is begun")
    parser.add_argument("--write", type=Path, help="write the rows of the table there")
    options = parser.parse_args(arguments)
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="ak") as folder:
        counted = bench(Place(Path(folder, "p")), options.seed, (options.random, options.boundaries), options.minutes)
    if options.write:
        write_rows(options.write, {kind: faults for kind, faults in counted.items() if faults["kills"]})
    return int(any(number for faults in counted.values() for what, number in faults.items() if what != "kills"))


def bench(place: Place, seed: int, numbers: tuple[int, int], minutes: float = 600.0) -> dict[str, Counter[str]]:
    """Kill, let one export come to its end, count; by kind of kill.

    Args:
        place: of the exports.
        seed: of the moments.
        numbers: of random kills, and of kills after each step.
        minutes: after which no further kill is begun.
    """
    chance, deadline = random.Random(seed), time.monotonic() + 60 * minutes
    exported, seconds = _complete(place, 0)
    counted: dict[str, Counter[str]] = {}
    number = 0
    for kind, moments in _kinds(numbers, chance, seconds):
        counted[kind] = Counter(dict.fromkeys(("kills", *place.faults(exported, [])), 0))
        while moments and time.monotonic() < deadline:
            batch, moments = moments[:TOGETHER], moments[TOGETHER:]
            sessions = []
            for moment in batch:
                number += 1
                sessions.append(_kill(place, number, moment))
            exported, _ = _complete(place, number + 1_000_000)
            found = place.faults(exported, sessions)
            counted[kind].update({"kills": len(batch), **found})
            print(kind, dict(counted[kind]), flush=True)
    return counted


def _kinds(numbers: tuple[int, int], chance: random.Random, seconds: float) -> Iterator[tuple[str, list[float | str]]]:
    """Each kind of kill, with its moments: seconds after the start, or the step that has ended."""
    yield "at random moments", [chance.uniform(0, seconds) for _ in range(numbers[0])]
    for step in STEPS:
        if numbers[1]:
            yield f"right after {step}", [step] * numbers[1]


def _kill(place: Place, number: int, moment: float | str) -> int:
    """Kill one export; its session."""
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
    process.wait()
    return process.pid


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
