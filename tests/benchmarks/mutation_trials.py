"""What becomes of mutants, and of untouched files."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.core.arrays import EPS32
from tasks.core.localisation.onnx_graph import OnnxGraph
from tasks.core.onnx_files.reading import read_graph
from tasks.core.proof.validation import validate
from tasks.core.records.evidence import Evidence, FamilyParity
from tasks.core.records.steps import Candidate
from tasks.core.reference.reference import Reference
from tests.benchmarks.float64_difference import difference_in_float64
from tests.benchmarks.mutation_peers import PEERS, PeerProbe
from tests.benchmarks.reach import is_out_of_reach
from tests.models.panel import Subject
from tests.mutations import Mutant, mutate

ASSAY = "Assay"


@dataclass
class Outcome:
    """What became of one mutant."""

    model: str
    mutant: Mutant
    verdict: str
    reason: str
    worst: FamilyParity | None
    """The family with the largest noise ratio, of the worst output."""
    caught_by: set[str]
    difference: float = float("nan")
    """Relative change that the mutation makes in float64, of a mutant that was not caught; NaN: not known."""
    is_out_of_reach: bool = False
    """No input within the declared ranges can show it, as interval arithmetic says."""
    blamed: str = ""
    is_node_right: bool = False
    is_path_right: bool | None = None
    """None: the file doesn't say which module its node belongs to."""

    @property
    def is_equivalent(self) -> bool:
        """Float64 shows less than float32 can show; of what most inputs don't show, none within the ranges can."""
        if ASSAY in self.caught_by or self.mutant.is_declaration:
            return False
        return self.is_out_of_reach if self.mutant.family == "sparse" else self.difference <= EPS32

    def __str__(self) -> str:
        return f"{self.model}: {self.mutant.name}"


@dataclass
class Alarms:
    """Runs of untouched files, and those that were refused."""

    num_runs: dict[str, int] = field(default_factory=dict)
    refused: dict[str, list[str]] = field(default_factory=dict)

    def add(self, who: str, what: str) -> None:
        """Count a run; `what` says how it was refused, empty: it was not."""
        self.num_runs[who] = self.num_runs.get(who, 0) + 1
        if what:
            self.refused.setdefault(who, []).append(what)

    def include(self, others: "Alarms") -> None:
        """Count those of another model, too."""
        for who, number in others.num_runs.items():
            self.num_runs[who] = self.num_runs.get(who, 0) + number
        for who, refused in others.refused.items():
            self.refused.setdefault(who, []).extend(refused)


def try_mutants(subject: Subject, folder: Path, **choice: Any) -> Iterator[Outcome]:
    """Prove each mutant of a model's file; the choice is that of `mutate`."""
    peers = PeerProbe(subject)
    graph = OnnxGraph(subject.graph.path)
    for mutant in mutate(subject.graph.path, folder, runs=peers.runs, **choice):
        if mutant.is_declaration:
            peers.runs(mutant.path)
        evidence = validate(Candidate(read_graph(mutant.path)), subject.reference, threads=1, keep=True).evidence
        caught_by = peers.caught_by() | ({ASSAY} if evidence.verdict == "fail" else set())
        reason = evidence.reasons[0] if evidence.reasons else ""
        outcome = Outcome(subject.entry.name, mutant, evidence.verdict, reason, _worst(evidence), caught_by)
        if evidence.verdict != "fail" and not mutant.is_declaration:
            outcome.difference = difference_in_float64(subject.graph.path, mutant.path, subject.inputs)
            specs = subject.inputs.specs
            outcome.is_out_of_reach = is_out_of_reach(subject.graph.path, mutant.path, specs)
        _judge_blame(outcome, evidence, graph, subject)
        mutant.path.unlink()
        yield outcome


def _worst(evidence: Evidence) -> FamilyParity | None:
    families = [family for output in evidence.outputs for family in output.families]
    return max(families, key=lambda family: family.noise_ratio, default=None)


def _judge_blame(outcome: Outcome, evidence: Evidence, graph: OnnxGraph, subject: Subject) -> None:
    """Was the right node named, and the module that it belongs to?"""
    known = {name for name, _ in subject.model.named_modules() if name}
    labels = {graph.label(index): index for index in range(len(graph.nodes))}
    nodes = [labels[name] for name in outcome.mutant.nodes if name in labels]
    paths = {path for node in nodes if (path := graph.module_path(node, known)) is not None}
    # a convolution into which its norm was folded bears the norm's path and the convolution's weights
    paths |= {path for node in nodes for name in graph.inputs[node] if (path := name.rpartition(".")[0]) in known}
    blame = evidence.blame
    if blame is not None:
        outcome.blamed = f"{blame.node} ({blame.op_type}, {blame.module_path or 'top level'}, {blame.kind})"
        outcome.is_node_right = blame.node in outcome.mutant.nodes
    if paths:
        outcome.is_path_right = blame is not None and blame.module_path in paths


def raise_alarms(subject: Subject, num_seeds: int, alarms: Alarms) -> None:
    """Prove the untouched file with other seeds, at each optimisation level and number of threads."""
    for seed in range(num_seeds):
        peers = PeerProbe(subject, seed=1000 + seed)
        peers.runs(subject.graph.path)
        caught_by = peers.caught_by()
        for name in PEERS:
            alarms.add(name, f"{subject.entry.name} seed {seed}" if name in caught_by else "")
        reference = None
        for level in ("off", "all"):
            probes = [
                p.model_copy(update={"seed": p.seed + 1000 * (seed + 1), "levels": (level,)})
                for p in subject.inputs.probes
            ]
            inputs = dataclasses.replace(subject.inputs, probes=tuple(probes))
            reference = reference or Reference(subject.model, inputs)
            reference.inputs = inputs  # the same but for the level, which the module knows nothing of
            for threads in (1, 2):
                evidence = validate(Candidate(subject.graph), reference, threads=threads, keep=True).evidence
                is_fine = evidence.verdict == "pass"
                where = f"{subject.entry.name} seed {seed}, {level}, {threads} threads: {evidence.verdict}"
                alarms.add(ASSAY, "" if is_fine else f"{where}: {' '.join(evidence.reasons)}")
