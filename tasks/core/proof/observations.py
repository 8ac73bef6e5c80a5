"""What is seen while the probes of a proof are run; `verdict.judge` makes the evidence of it."""

from dataclasses import dataclass, field

import numpy as np

from tasks.core.arrays import EPS32, Array, eps_of, rms
from tasks.core.inputs.probes import Probe
from tasks.core.proof.parity import ExactPool, FloatPool, OutputRuns
from tasks.core.proof.task_metrics import TaskMetrics
from tasks.core.records.evidence import BlockPower


@dataclass
class ItemCount:
    """What became of the items of one group over one family, by the fields of `Detections`."""

    num_reference: int = 0
    num_matched: int = 0
    num_excused: int = 0
    num_unmatched: int = 0
    lowest_iou: float = 1.0
    first_unmatched: str = ""


@dataclass
class Observed:
    """What was seen of one output."""

    name: str
    pools: dict[str, FloatPool | ExactPool] = field(default_factory=dict)
    """Per family."""
    items: dict[str, ItemCount] = field(default_factory=dict)
    """Of outputs sized by data, per family; those that describe the same items share it."""
    metrics: TaskMetrics = field(default_factory=TaskMetrics)
    noise_rms: list[float] = field(default_factory=list)
    """Of torch32 against float64, a judged probe each."""
    scale_rms: list[float] = field(default_factory=list)
    """Of float64, a judged probe each."""
    eps: float = EPS32
    """Spacing of its dtype at 1.0."""
    movements: dict[str, float] = field(default_factory=dict)
    """Per family: change of the output between two inputs, as a multiple of its noise."""
    still_share: float = 1.0
    """Smallest share of elements that stay at the output's largest or smallest value between two inputs."""
    finite: bool = True
    num_elements: int = 0
    """Over the judged probes."""
    num_zeros: int = 0

    def observe(self, runs: OutputRuns) -> None:
        """Note scale, noise, zeros, finiteness and task metrics of one answer of a judged family."""
        torch32, float64 = runs.torch32, runs.float64
        is_float = torch32.dtype.kind == "f"
        self.num_elements += torch32.size
        if is_float or not self.items:  # a class of detected items may be zero
            self.num_zeros += int(np.count_nonzero(torch32 == 0))
        if is_float:
            self.finite = self.finite and bool(np.isfinite(torch32).all())
            self.eps = eps_of(torch32.dtype)
            self.noise_rms.append(rms(torch32.astype(np.float64) - float64))
            self.scale_rms.append(rms(float64))
        self.metrics.add(runs)


@dataclass
class Observations:
    """What was seen of one file."""

    outputs: list[Observed]
    """In the module's order."""
    failures: list[str] = field(default_factory=list)
    """What is wrong with the file, a sentence each."""
    doubts: list[str] = field(default_factory=list)
    """Why nothing can be proven, one sentence each."""
    notes: list[str] = field(default_factory=list)
    compared: list[Probe] = field(default_factory=list)
    skipped: list[tuple[Probe, str]] = field(default_factory=list)
    """Probes that were not, and why; empty: proving took too long."""
    blocks: list[BlockPower] = field(default_factory=list)
    floor: str = "float64"
    """What measured the noise."""
    failed_at: Probe | None = None
    """The probe at which structure or values were seen to be wrong."""
    first_answer: tuple[Array, ...] | None = None
    """The file's outputs for the first probe, in its own order; None: it was not run."""

    def note(self, text: str) -> None:
        """Say something once."""
        if text not in self.notes:
            self.notes.append(text)
