"""How long one run takes, as it was measured."""

from tasks.core.records.record import Record


class Timing(Record):
    """How long one run takes, over several."""

    median_ms: float
    low_ms: float
    """Lower end of the interval that has the median with 95 % confidence; of fewer than six runs, their smallest."""
    high_ms: float
    num_runs: int


class Latency(Record):
    """How long one run takes on the machine that exported, by ONNX Runtime and by PyTorch eager in turn."""

    onnx: Timing | None = None
    """ONNX Runtime with its own defaults, on the CPU; None: `reason` says why."""
    torch: Timing | None = None
    """The module as its user calls it, without gradients."""
    batch_size: int | None = None
    """Size of the dimension that leads the first input; None: it has none."""
    shapes: dict[str, tuple[int, ...]] = {}
    """Of the arrays, by input name."""
    threads: int
    """Of each of the two."""
    cpu: str
    """What the processor calls itself."""
    reason: str = ""
    """Why it was not measured, in a few words; empty: it was."""
