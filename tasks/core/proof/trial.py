"""One file under proof: what is held against what, and all that is gathered while the probes run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from tasks.core.arrays import Array
from tasks.core.inputs.choice import Inputs
from tasks.core.inputs.probes import Probe
from tasks.core.proof.detections import ItemCount
from tasks.core.proof.parity import ExactPool, FloatPool
from tasks.core.proof.task_metrics import TaskMetrics
from tasks.core.proof.witness import Witness
from tasks.core.records.evidence import BlockPower, ProbeRecord
from tasks.core.records.steps import Graph
from tasks.core.reference.groups import Group
from tasks.core.reference.reference import Reference

if TYPE_CHECKING:
    from tasks.core.localisation.defects import Defect

Item = TypeVar("Item")


@dataclass
class Observed:
    """What is gathered about one output while the probes run."""

    name: str
    pools: dict[str, FloatPool | ExactPool] = field(default_factory=dict)
    items: dict[str, ItemCount] = field(default_factory=dict)
    """Of outputs sized by data, per family; those that describe the same items share it."""
    metrics: TaskMetrics = field(default_factory=TaskMetrics)
    noise_rms: list[float] = field(default_factory=list)
    scale_rms: list[float] = field(default_factory=list)
    movements: dict[str, float] = field(default_factory=dict)
    """Per family."""
    still_share: float = 1.0
    """Smallest share of elements that stay at the output's largest or smallest value between two inputs."""
    finite: bool = True
    num_elements: int = 0
    num_zeros: int = 0


@dataclass
class Trial:
    """One file under proof."""

    graph: Graph
    inputs: Inputs
    reference: Reference
    constant_outputs: tuple[str, ...] = ()
    random_weights: bool = False
    answers: Mapping[tuple[str, tuple[object, ...]], list[Array]] = field(default_factory=dict)
    """What the file answered before, by level and key of a probe."""
    keep: bool = False
    """What the reference answered is to be kept."""
    file_inputs: Mapping[str, str] = field(default_factory=dict)
    """Names of inputs in the file, by ours, where they differ."""
    output_order: tuple[int, ...] = ()
    """Which of the file's outputs is the module's first, second…; empty: they come in the module's order."""
    threads: int | None = None
    """Of ONNX Runtime, within an operator; None: as many as PyTorch has."""
    failures: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    records: list[ProbeRecord] = field(default_factory=list)
    outputs: list[Observed] = field(default_factory=list)
    blocks: list[BlockPower] = field(default_factory=list)
    defect: "Defect | None" = None
    """Of a wrong file, the first node that is wrong."""
    failed_at: Probe | None = None
    """The probe at which structure or values were seen to be wrong."""
    witness: Witness | None = None
    """The file's answer to the first probe, once it has run."""

    @property
    def groups(self) -> tuple[Group, ...]:
        """The outputs that are sized by data."""
        return self.reference.groups

    @property
    def sized_by_data(self) -> frozenset[int]:
        """Their indices."""
        return frozenset(index for group in self.groups for index in group.outputs)

    def note(self, text: str) -> None:
        """Say something once."""
        if text not in self.notes:
            self.notes.append(text)

    def file_arrays(self, probe: Probe) -> dict[str, Array]:
        """The arrays of a probe, by the file's input names."""
        return {self.file_inputs.get(name, name): array for name, array in self.inputs.arrays(probe).items()}

    def in_our_order(self, items: list[Item]) -> list[Item]:
        """What the file has one of per output, in the order of the module's outputs."""
        return [items[index] for index in self.output_order] if self.output_order else items
