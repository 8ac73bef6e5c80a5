"""The plan of a proof: which probes shall be run, and how the file's inputs and outputs correspond to the module's."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from tasks.core.arrays import Array
from tasks.core.inputs.probes import Probe
from tasks.core.limits import MAX_LEVELS_BYTES, NUM_SEEDS, SMALL_OUTPUT
from tasks.core.records.steps import Candidate, Graph
from tasks.core.spec.input_spec import InputSpec

if TYPE_CHECKING:
    from tasks.core.reference.reference import Reference

Item = TypeVar("Item")


@dataclass(frozen=True)
class Plan:
    """What a proof starts from, none of which changes while it runs."""

    graph: Graph
    specs: tuple[InputSpec, ...]
    """Of the module's inputs, sizes chosen."""
    probes: tuple[Probe, ...]
    """In the order in which they are run; the first two differ in their seed only."""
    refused: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Sizes of each dynamic dimension at which the module itself raises."""
    file_inputs: Mapping[str, str] = field(default_factory=dict)
    """Names of inputs in the file by the module's, where they differ."""
    output_order: tuple[int, ...] = ()
    """Which of the file's outputs is the module's first, second…; empty: they come in the module's order."""
    doubts: tuple[str, ...] = ()
    """Branches on sizes of which no probe can show both sides."""
    constant_outputs: tuple[str, ...] = ()
    random_weights: bool = False
    threads: int | None = None
    """Of ONNX Runtime, within an operator; None: as many as PyTorch has."""

    @property
    def output_names(self) -> list[str]:
        """Names of the file's outputs, in the module's order."""
        return self.in_our_order([value.name for value in self.graph.outputs])

    def in_our_order(self, items: list[Item]) -> list[Item]:
        """What the file has one of per output, in the order of the module's outputs."""
        return [items[index] for index in self.output_order] if self.output_order else items

    def levels_of(self, probe: Probe) -> tuple[str, ...]:
        """Optimisation levels to run a probe at; of a large file not those in between: `all` has their passes, too."""
        is_large = self.graph.size_bytes > MAX_LEVELS_BYTES
        return tuple(level for level in probe.levels if level in ("off", "all") or not is_large)

    def feeds(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Arrays by the module's input names, by the file's."""
        return {self.file_inputs.get(name, name): array for name, array in arrays.items()}


def make_plan(candidate: Candidate, reference: "Reference") -> Plan:
    """Plan the proof of a file: the planned probes, sizes that its exporter made suspicious, further seeds.

    Args:
        candidate: the file.
        reference: of the module; it is run once, to see how large its outputs are.
    """
    inputs, first = reference.inputs, reference.inputs.probes[0]
    num_elements = min(output.size for output in reference.float32(first))
    further = (*_suspicious_sizes(first, candidate.graph), *_further_seeds(inputs.probes, num_elements))
    return Plan(
        graph=candidate.graph,
        specs=inputs.specs,
        probes=(*inputs.probes, *further),
        refused=inputs.refused,
        doubts=inputs.doubts,
        file_inputs=candidate.file_inputs,
        output_order=candidate.output_order,
    )


def perturbed_probes(probes: Sequence[Probe]) -> list[Probe]:
    """The smallest probe of each family, on which the module runs with perturbed weights, too.

    Not of large sizes, where that is dear: if the noise of one run is luckily small, a second look has them.

    Args:
        probes: those that run, in order; an optional one stands for its family only where no other does.
    """
    smallest: dict[str, Probe] = {}
    usual = (probe for probe in probes if probe.family != "large")
    for probe in sorted(usual, key=lambda probe: (probe.optional, math.prod(probe.sizes.values()))):
        smallest.setdefault(probe.family, probe)
    return list(smallest.values())


def _suspicious_sizes(first: Probe, graph: Graph) -> Iterator[Probe]:
    """Probes at the sizes where an exporter's analysis says that the module takes another branch."""
    for name, sizes in graph.beyond.items():
        for size in sizes:
            changes = {"seed": 50 + size, "sizes": {**first.sizes, name: size}, "levels": ("all",)}
            yield first.model_copy(update=changes)


def _further_seeds(probes: tuple[Probe, ...], num_elements: int) -> Iterator[Probe]:
    """More seeds where an output is so small that one small error of torch32 may be luck."""
    first = probes[0]
    num_probes = sum(probe.family == first.family and not probe.optional and not probe.rows for probe in probes)
    if num_elements * num_probes < SMALL_OUTPUT:
        for seed in range(100, 100 + NUM_SEEDS):
            for family in (first.family, "wide"):
                changes = {"family": family, "seed": seed, "levels": ("all",), "optional": True}
                yield first.model_copy(update=changes)
