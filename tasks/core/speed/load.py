"""Who else uses the machine while a file is timed."""

import time
from dataclasses import dataclass
from typing import Self

import psutil


@dataclass(frozen=True, slots=True)
class Load:
    """Seconds of processors, counted since some start, at one moment."""

    moment: float
    all_seconds: float
    own_seconds: float
    """Of this process and those it started."""

    @classmethod
    def now(cls) -> Self:
        """At this moment; Linux counts in hundredths of a second."""
        times, process = psutil.cpu_times(), psutil.Process()
        own = [process, *process.children(recursive=True)]
        return cls(
            moment=time.perf_counter(),
            all_seconds=times.user + times.nice + times.system + times.irq + times.softirq + times.steal,
            own_seconds=sum(map(_cpu_seconds, own)),
        )

    def taken_since(self, earlier: Self, *, num_threads: int) -> float:
        """Share of this process's threads that had no processor, as other processes had so many; from 0 to 1.

        Args:
            earlier: the load when it began.
            num_threads: that want to run at once.
        """
        elapsed = self.moment - earlier.moment
        if elapsed <= 0:
            return 0.0
        others = (self.all_seconds - earlier.all_seconds) - (self.own_seconds - earlier.own_seconds)
        lacking = max(0.0, others) / elapsed + num_threads - (psutil.cpu_count() or 1)
        return min(1.0, max(0.0, lacking / num_threads))


def _cpu_seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:  # it has ended
        return 0.0
    return float(times.user + times.system)
