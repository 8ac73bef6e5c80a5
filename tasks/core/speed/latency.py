"""Time a file beside its module: by turns, in blocks, warmed up, for as many runs as a small budget of time allows."""

import math
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median

import torch
from rich.filesize import decimal

from tasks.core.arrays import Array
from tasks.core.errors import one_line
from tasks.core.forward.switches import uncompiled
from tasks.core.inputs.inputs import Inputs
from tasks.core.inputs.probes import Probe, base_family
from tasks.core.records.latency import Latency, Timing
from tasks.core.records.steps import Candidate
from tasks.core.reference.module import BuiltModule
from tasks.core.runtime import sessions
from tasks.core.speed import budget
from tasks.core.speed.load import Load

MIN_RUNS, MAX_RUNS = 3, 300
"""Of each of the two; with fewer there is no figure."""
MAX_FILE_BYTES = 1 << 30
"""Larger files take longer to open than all of it may take."""
_BLOCK_SECONDS = 0.1
_MAX_BLOCK = 100
_PRECISION = 0.02
"""Half of the interval, as a share of the median, at which there are runs enough."""
_MIN_ROUNDS = 3
_SEED = 77
_CPUS = Path("/proc/cpuinfo")

Run = Callable[[int], Sequence[float]]
"""Does so many runs one after another, and gives the seconds that each took."""


def measure(candidate: Candidate, module: BuiltModule, inputs: Inputs) -> Latency:
    """Time ONNX Runtime and PyTorch on equal inputs, a batch of one where the file takes one; never raises.

    Args:
        candidate: the file, which is right.
        module: what it was made from.
        inputs: of it.
    """
    deadline = time.perf_counter() + budget.SECONDS
    arrays = inputs.draw(_probe(inputs))
    first = arrays[inputs.specs[0].name].shape
    facts = Latency(
        batch_size=first[0] if first else None,
        shapes={name: array.shape for name, array in arrays.items()},
        threads=torch.get_num_threads(),
        cpu=_cpu(),
    )
    size_bytes = candidate.graph.size_bytes
    if size_bytes > MAX_FILE_BYTES:
        return _without(facts, f"a file of {decimal(size_bytes)} takes too long to open")
    feeds = {candidate.file_inputs.get(name, name): array for name, array in arrays.items()}
    try:
        with sessions.timing(candidate.graph.path, feeds) as run:
            before = Load.now()
            found = in_turn(run, _runs(module, inputs, arrays), deadline=deadline)
            taken = Load.now().taken_since(before, num_threads=facts.threads)
    except Exception as error:  # of the user's forward, or of a service: no reason to lose a file that is proven
        return _without(facts, one_line(error))
    if taken > budget.MAX_TAKEN:
        return _without(facts, f"the machine is busy, other processes had {taken:.0%} of the processors it needs")
    if found is None:
        return _without(facts, f"{MIN_RUNS} runs of both take more than {budget.SECONDS:g} s")
    timings = dict(zip(("onnx", "torch"), map(timing_of, found), strict=True))
    return facts.model_copy(update=timings)


def in_turn(onnx: Run, eager: Run, *, deadline: float) -> tuple[list[float], list[float]] | None:
    """Seconds of runs of both, by turns, so that what else the machine does meets both; None: they are too dear.

    A block of several runs begins with one that does not count: the other one had the caches.

    Args:
        onnx: ONNX Runtime's.
        eager: PyTorch's, which goes first while the file is being opened.
        deadline: of `time.perf_counter`.
    """
    found: tuple[list[float], list[float]] = ([], [])
    expected = [0.0, 0.0]
    for index, run in ((1, eager), (0, onnx)):  # the first run of all is no measure
        if time.perf_counter() < deadline:
            expected[index] = run(1)[0]
    rounds = 0
    while not (rounds >= _MIN_ROUNDS and all(map(_is_enough, found))):
        left = deadline - time.perf_counter()
        if left < (sum(expected) if rounds else 0.0):  # a first run may be much slower than the others
            break
        for index, run in enumerate((onnx, eager)):
            num_runs = _num_runs(expected[index], min(_BLOCK_SECONDS, left / 4))
            seconds = run(num_runs)[num_runs > 1 :]
            expected[index] = median(seconds)
            found[index].extend(seconds)
        rounds += 1
    return found if all(len(seconds) >= MIN_RUNS for seconds in found) else None


def timing_of(seconds: Sequence[float]) -> Timing:
    """The median of runs, with the interval that has it with 95 % confidence, whatever their distribution.

    Source:
        Order statistics: of n runs the ranks n/2 -+ 0.98 sqrt(n), the normal approximation of the binomial.
    """
    ordered, number = sorted(seconds), len(seconds)
    rank = max(0, math.floor(number / 2 - 0.98 * math.sqrt(number)))
    low, middle, high = (1000 * value for value in (ordered[rank], median(ordered), ordered[number - 1 - rank]))
    return Timing(median_ms=middle, low_ms=low, high_ms=high, num_runs=number)


def _is_enough(seconds: Sequence[float]) -> bool:
    timing = timing_of(seconds)
    return len(seconds) >= MAX_RUNS or timing.high_ms - timing.low_ms <= 2 * _PRECISION * timing.median_ms


def _num_runs(expected: float, block_seconds: float) -> int:
    """Of a block: as many as take that long, and one more if there are several."""
    number = min(int(block_seconds / max(expected, 1e-9)), _MAX_BLOCK)
    return number + 1 if number > 1 else 1


def _probe(inputs: Inputs) -> Probe:
    """Inputs of the traced sizes, but with a batch of one where the file was proven with one."""
    sizes, batch = {**inputs.probes[0].sizes}, inputs.batch
    if any(probe.sizes.get(batch) == 1 for probe in inputs.probes) and 1 not in inputs.refused.get(batch, ()):
        sizes[batch] = 1
    return Probe(family=base_family(inputs.specs), seed=_SEED, sizes=sizes)


def _runs(module: BuiltModule, inputs: Inputs, arrays: Mapping[str, Array]) -> Run:
    """Of a module as its user calls it."""
    args, kwargs = inputs.arguments(arrays)

    def run(num_runs: int) -> list[float]:
        found = []
        with uncompiled(), torch.no_grad(), inputs.kept():
            for _ in range(num_runs):
                started = time.perf_counter()
                module.network(*args, **kwargs)
                found.append(time.perf_counter() - started)
        return found

    return run


def _without(facts: Latency, reason: str) -> Latency:
    return facts.model_copy(update={"reason": reason})


def _cpu() -> str:
    lines = _CPUS.read_text().splitlines() if _CPUS.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())
