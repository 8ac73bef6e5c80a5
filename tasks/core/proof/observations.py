"""What is seen while the probes of a proof are run; `verdict.judge` makes the evidence of it."""

from dataclasses import dataclass, field

from tasks.core.arrays import EPS32, Array
from tasks.core.inputs.probes import Probe
from tasks.core.proof.parity import ExactPool, FloatPool
from tasks.core.proof.task_metrics import TaskMetrics
from tasks.core.records.evidence import BlockPower


@dataclass
class ItemCount:
    """What became of the items of one group over one family."""

    num_reference: int = 0
    """Items that torch32 found."""
    num_matched: int = 0
    num_excused: int = 0
    """Without a partner, but on the edge of a threshold."""
    num_unmatched: int = 0
    """Without a partner and without an excuse."""
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


@dataclass
class Observations:
    """What was seen of one file."""

    outputs: list[Observed]
    """In the module's order."""
    failures: list[str] = field(default_factory=list)
    """What is wrong with the file, one sentence each."""
    doubts: list[str] = field(default_factory=list)
    """Why nothing can be proven, one sentence each."""
    notes: list[str] = field(default_factory=list)
    compared: list[Probe] = field(default_factory=list)
    """Probes that were run and compared."""
    skipped: list[tuple[Probe, str]] = field(default_factory=list)
    """Probes that were not, and why; empty: proving took too long."""
    blocks: list[BlockPower] = field(default_factory=list)
    """Residual blocks of the module."""
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
