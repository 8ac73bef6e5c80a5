"""The mutation score: which broken files does Assay refuse, beside the tolerances that others use.

    python tests/benchmarks/mutation_score.py [--select GLOB] [--seeds N] [--write docs/mutation_score.md]

Each model of tests/panel.py is exported, and each mutation of tests/mutations.py is put into its file at a
few places. A mutant counts unless float64 shows that it is equivalent on the probes. The real models need
RW_SITE. All of it takes about ten minutes on 2 cores.
"""

import argparse
import dataclasses
import fnmatch
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.reference

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT))

from tasks.core import sessions  # noqa: E402  the project's folder comes first
from tasks.core.errors import AssayError  # noqa: E402
from tasks.core.evidence import Evidence, FamilyParity  # noqa: E402
from tasks.core.foreign_files import read_graph  # noqa: E402
from tasks.core.inputs import Inputs  # noqa: E402
from tasks.core.onnx_values import OnnxGraph  # noqa: E402
from tasks.core.precision import EPS32, run_float32  # noqa: E402
from tasks.core.probes import Array, Probe, draw  # noqa: E402
from tasks.core.reference import Reference  # noqa: E402
from tasks.core.structures import flatten  # noqa: E402
from tasks.core.trial import Trial  # noqa: E402
from tasks.core.validation import validate  # noqa: E402
from tests.mutations import MUTATIONS, Mutant, mutate  # noqa: E402
from tests.panel import PANEL, Entry, Subject, prepare  # noqa: E402

ASSAY = "Assay"


def _max_difference(found: Array, wanted: Array) -> float:
    return float(np.abs(found.astype(np.float64) - wanted).max()) if wanted.size else 0.0


def _torch_verify(found: Array, wanted: Array) -> bool:
    """What `torch.onnx.export(verify=True)` accepts.

    Source:
        torch 2.14, torch/onnx/_internal/exporter/_core.py ("Verify output accuracy"): max_abs_diff < 5e-3 and
        max_rel_diff < 1e-1; the relative one is divided by |expected| + 1e-7 (_verification.py).
    """
    wanted = wanted.astype(np.float64)
    relative = np.abs(found - wanted) / (np.abs(wanted) + 1e-7)
    return _max_difference(found, wanted) < 5e-3 and (not relative.size or bool(relative.max() < 1e-1))


def _torch_options(found: Array, wanted: Array) -> bool:
    """What `torch.onnx.verification.VerificationOptions` accepts: rtol 1e-3, atol 1e-7.

    Source:
        torch 2.14, torch/onnx/_internal/torchscript_exporter/verification.py.
    """
    return bool(np.allclose(found, wanted, rtol=1e-3, atol=1e-7))


PEERS: dict[str, Callable[[Array, Array], bool]] = {
    "allclose(rtol=1e-3, atol=1e-5)": lambda a, b: bool(np.allclose(a, b, rtol=1e-3, atol=1e-5)),
    "allclose(rtol=1e-5, atol=1e-5)": lambda a, b: bool(np.allclose(a, b, rtol=1e-5, atol=1e-5)),
    "assert_almost_equal(decimal=3)": lambda a, b: _max_difference(a, b) < 1.5e-3,
    "torch.onnx.export(verify=True)": _torch_verify,
    "torch.onnx VerificationOptions": _torch_options,
    "max. absolute difference 0.1": lambda a, b: _max_difference(a, b) < 0.1,
}
"""Do two outputs agree? Each is asked on one random normal input of the traced sizes, as its users do."""


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
    blamed: str = ""
    is_node_right: bool = False
    is_path_right: bool | None = None
    """None: the file doesn't say which module its node belongs to."""

    @property
    def is_equivalent(self) -> bool:
        """Float64 shows less than float32 can show."""
        return ASSAY not in self.caught_by and not self.mutant.is_declaration and self.difference <= EPS32

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


class PeerProbe:
    """One random normal input of the traced sizes, and what module and file answer."""

    def __init__(self, subject: Subject, *, seed: int = 777) -> None:
        inputs = subject.inputs
        specs = tuple(
            spec.model_copy(update={"low": None, "high": None}) if spec.dtype == "float32" else spec
            for spec in inputs.specs
        )
        self.sizes = inputs.probes[0].sizes
        self.arrays = draw(specs, Probe(family="normal", seed=seed, sizes=self.sizes))
        args, kwargs = inputs.arguments(self.arrays)
        output = run_float32(subject.model, args, kwargs)
        self.wanted = [tensor.detach().numpy() for _, tensor in flatten(output)]
        self.fixed = [
            [self.sizes.get(d) if isinstance(d, str) else d for d in value.dims] for value in subject.graph.outputs
        ]
        self.found: list[Array] = []

    def runs(self, path: Path) -> bool:
        """Does ONNX Runtime take the file, and give outputs of the sizes that it declared?"""
        try:
            self.found = sessions.run(sessions.open_session(path, threads=1), self.arrays)
        except sessions.SessionError:
            self.found = []
            return False
        return len(self.found) == len(self.wanted) and all(
            a.dtype == b.dtype
            and a.ndim == b.ndim
            and all(size in (None, n) for size, n in zip(fixed, a.shape, strict=True))
            for a, b, fixed in zip(self.found, self.wanted, self.fixed, strict=True)
        )

    def caught_by(self) -> set[str]:
        """The peers that see a difference in what the file answered last."""
        if not self.found:
            return set(PEERS)
        pairs = list(zip(self.found, self.wanted, strict=True))
        if any(a.shape != b.shape for a, b in pairs):
            return set(PEERS)
        return {name for name, agree in PEERS.items() if not all(agree(a, b) for a, b in pairs)}


def try_mutants(subject: Subject, folder: Path, *, seed: int = 0, num_places: int = 2) -> Iterator[Outcome]:
    """Prove each mutant of a model's file."""
    peers = PeerProbe(subject)
    graph = OnnxGraph(subject.graph.path)
    for mutant in mutate(subject.graph.path, folder, seed=seed, num_places=num_places, runs=peers.runs):
        if mutant.is_declaration:
            peers.runs(mutant.path)
        trial = Trial(read_graph(mutant.path), subject.inputs, subject.reference, threads=1)
        evidence = validate(trial)
        caught_by = peers.caught_by() | ({ASSAY} if evidence.verdict == "fail" else set())
        reason = evidence.reasons[0] if evidence.reasons else ""
        outcome = Outcome(subject.entry.name, mutant, evidence.verdict, reason, _worst(evidence), caught_by)
        if evidence.verdict != "fail" and not mutant.is_declaration:
            outcome.difference = difference_in_float64(subject.graph.path, mutant.path, subject.inputs)
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


def difference_in_float64(original: Path, mutated: Path, inputs: Inputs) -> float:
    """Largest relative difference between two files computed in float64, over probes, outputs and slices.

    Returns:
        rms(mutated - original) / rms(original); inf where shapes, integers or what is finite differ; NaN where
        onnx's reference evaluator can't compute the graph.
    """
    try:
        first, second = (onnx.reference.ReferenceEvaluator(_in_float64(path)) for path in (original, mutated))
        largest = 0.0
        for probe in inputs.probes:
            arrays = _raised(inputs.arrays(probe))
            pairs = zip(_run(first, arrays), _run(second, arrays), strict=True)
            largest = max([largest, *(_relative_difference(a, b) for a, b in pairs)])
            if largest > EPS32:
                break
    except Exception as error:  # the evaluator raises what numpy and its own operators raise
        print(f"    no float64 of {mutated.name}: {type(error).__name__}: {str(error)[:120]}", flush=True)
        return float("nan")
    return largest


def _run(evaluator: Any, arrays: Mapping[str, Array]) -> list[Array]:
    with np.errstate(all="ignore"):
        return [np.asarray(a) for a in evaluator.run(None, {n: arrays[n] for n in evaluator.input_names})]


def _raised(arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {name: a.astype(np.float64) if a.dtype == np.float32 else a for name, a in arrays.items()}


def _relative_difference(a: Array, b: Array) -> float:
    if a.shape != b.shape or (a.dtype.kind != "f" and not np.array_equal(a, b)):
        return float("inf")
    if a.dtype.kind != "f" or not a.size:
        return 0.0
    if not np.array_equal(np.isfinite(a), np.isfinite(b)):
        return float("inf")
    a, b = np.nan_to_num(a), np.nan_to_num(b)
    axes: list[tuple[int, ...]] = [tuple(range(a.ndim))]
    axes += [tuple(other for other in range(a.ndim) if other != axis) for axis in range(1, a.ndim)]
    largest = 0.0
    for others in axes:
        change, scale = (np.sqrt(np.mean(np.square(v), axis=others)) for v in (b - a, a))
        tiny = np.finfo(np.float64).tiny
        largest = max(largest, float(np.max(np.where(change == 0, 0, change / np.maximum(scale, tiny)))))
    return largest


def _in_float64(path: Path) -> onnx.ModelProto:
    """The graph with float64 in place of float32."""
    model = onnx.load(path)
    graph = model.graph
    del graph.value_info[:]
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT:
            value.type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    for tensor in graph.initializer:
        _raise_tensor(tensor)
    for node in graph.node:
        if node.op_type == "ConstantOfShape" and not node.attribute:
            zero = onnx.numpy_helper.from_array(np.zeros(1, dtype=np.float32))  # float32 by default
            node.attribute.append(onnx.helper.make_attribute("value", zero))
        for attribute in node.attribute:
            if attribute.name == "to" and attribute.i == onnx.TensorProto.FLOAT:
                attribute.i = onnx.TensorProto.DOUBLE
            if attribute.HasField("t"):
                _raise_tensor(attribute.t)
    return model


def _raise_tensor(tensor: onnx.TensorProto) -> None:
    if tensor.data_type == onnx.TensorProto.FLOAT:
        values = onnx.numpy_helper.to_array(tensor).astype(np.float64)
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))


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
            reference = reference or Reference(subject.model, inputs, keep=True)
            for threads in (1, 2):
                reference.file_answers.clear()
                evidence = validate(Trial(subject.graph, inputs, reference, threads=threads))
                is_fine = evidence.verdict == "pass"
                where = f"{subject.entry.name} seed {seed}, {level}, {threads} threads: {evidence.verdict}"
                alarms.add(ASSAY, "" if is_fine else f"{where}: {' '.join(evidence.reasons)}")


def table(outcomes: Sequence[Outcome], alarms: Alarms, command: str) -> str:
    """The result as Markdown."""
    counted = [o for o in outcomes if not o.is_equivalent]
    models = list(dict.fromkeys(o.model for o in outcomes))
    lines = [
        "# Mutation score",
        "",
        f"`{command}`: {len(outcomes)} mutants by {len({o.mutant.mutation for o in outcomes})} of "
        f"{len(MUTATIONS)} mutations in {len(models)} models ({', '.join(models)}); "
        f"{len(outcomes) - len(counted)} are equivalent on the probes in float64 and do not count.",
        "",
        "| who | caught | counted | score | false alarms |",
        "|---|---|---|---|---|",
    ]
    for who in (ASSAY, *PEERS):
        caught = sum(who in o.caught_by for o in counted)
        refused = f"{len(alarms.refused.get(who, []))} of {alarms.num_runs.get(who, 0)}"
        lines.append(f"| {who} | {caught} | {len(counted)} | {_percent(caught, len(counted))} | {refused} |")
    lines += ["", *_by_family(counted), "", *_localisation(outcomes), ""]
    survivors = [o for o in counted if ASSAY not in o.caught_by]
    lines += _named("Survivors", [o for o in survivors if o.verdict == "pass"], _figures)
    lines += _named("Inconclusive", [o for o in survivors if o.verdict != "pass"], _figures)
    lines += _named("Equivalent", [o for o in outcomes if o.is_equivalent], lambda o: f"{o.difference:.1e}")
    lines += _named("False alarms", alarms.refused.get(ASSAY, []), lambda _: "")
    return "\n".join(lines)


def _by_family(counted: Sequence[Outcome]) -> list[str]:
    families = list(dict.fromkeys(mutation.family for mutation in MUTATIONS))
    lines = [f"| who | {' | '.join(families)} |", f"|---|{'---|' * len(families)}"]
    for who in (ASSAY, *PEERS):
        cells = []
        for family in families:
            mine = [o for o in counted if o.mutant.family == family]
            cells.append(f"{sum(who in o.caught_by for o in mine)} of {len(mine)}")
        lines.append(f"| {who} | {' | '.join(cells)} |")
    return lines


def _localisation(outcomes: Sequence[Outcome]) -> list[str]:
    placed = [o for o in outcomes if ASSAY in o.caught_by and o.mutant.is_single_node]
    pathed = [o for o in placed if o.is_path_right is not None]
    right, right_path = sum(o.is_node_right for o in placed), sum(bool(o.is_path_right) for o in pathed)
    lines = [
        f"Of {len(placed)} single-node mutants that failed, the blame names the node, or who takes what was changed, "
        f"in {right} ({_percent(right, len(placed))}); of {len(pathed)} whose file says the module, its path in "
        f"{right_path} ({_percent(right_path, len(pathed))})."
    ]
    if any(o.blamed for o in placed):
        wrong = [o for o in placed if not (o.is_node_right and o.is_path_right is not False)]
        lines += ["", *_named("Blamed elsewhere", wrong, lambda o: o.blamed or "nothing was blamed")]
    return lines


def _named(title: str, items: Sequence[Any], say: Callable[[Any], str]) -> list[str]:
    if not items:
        return [f"{title}: none.", ""]
    return [
        f"{title}: {len(items)}",
        "",
        *(f"- {item}{f': {text}' if (text := say(item)) else ''}" for item in items),
        "",
    ]


def _figures(o: Outcome) -> str:
    said = [o.reason] if o.reason else []
    if o.worst is not None:
        said.append(
            f"relative error {o.worst.relative_error:.1e}, PyTorch's own {o.worst.torch_relative_error:.1e}: "
            f"noise ratio {o.worst.noise_ratio:.3g}, of a slice {o.worst.slice_ratio:.3g} ({o.worst.family})"
        )
    return "; ".join([*said, f"a slice changes by {o.difference:.1e} in float64"])


def _percent(part: int, whole: int) -> str:
    # rounded down: 98.999 % is not 99 %
    return f"{part * 10_000 // whole / 100:.2f} %" if whole else "-"


def _run_entry(entry: Entry, outcomes: list[Outcome], alarms: Alarms, options: argparse.Namespace) -> None:
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="assay-mutants-") as folder:
        subject = prepare(entry, Path(folder))
        evidence = validate(Trial(subject.graph, subject.inputs, subject.reference, threads=1))
        mutants = Path(folder) / "mutants"
        mutants.mkdir()
        found = list(try_mutants(subject, mutants, num_places=options.places)) if evidence.verdict == "pass" else []
        if not options.no_false_alarms and (evidence.verdict == "pass" or not entry.may_be_inconclusive):
            raise_alarms(subject, options.seeds, alarms)
    outcomes += found
    counted = [o for o in found if not o.is_equivalent]
    caught = sum(ASSAY in o.caught_by for o in counted)
    print(
        f"{entry.name}: untouched {evidence.verdict}; {caught} of {len(counted)} caught, "
        f"{len(found) - len(counted)} equivalent; {time.perf_counter() - started:.0f} s",
        flush=True,
    )
    if evidence.verdict != "pass":
        print(f"    {' '.join(evidence.reasons)}", flush=True)
    for outcome in counted:
        if ASSAY not in outcome.caught_by:
            print(f"    {outcome.verdict}: {outcome.mutant.name}: {_figures(outcome)}", flush=True)


def main() -> None:
    """Run the panel, print the table; exit 1 below 99 % or with a false alarm."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--select", metavar="GLOB", default="*", help="names of models of the panel")
    parser.add_argument("--seeds", type=int, default=5, help="of the probes of untouched files")
    parser.add_argument("--places", type=int, default=2, help="at which each mutation is put into a graph")
    parser.add_argument("--no-false-alarms", action="store_true", help="leave the untouched files out")
    parser.add_argument("--write", metavar="FILE", type=Path, help="also write the table there")
    options = parser.parse_args()
    outcomes: list[Outcome] = []
    alarms = Alarms()
    for entry in PANEL:
        if not fnmatch.fnmatch(entry.name, options.select):
            continue
        if entry.missing:
            print(f"{entry.name}: left out, {entry.missing}", flush=True)
            continue
        try:
            _run_entry(entry, outcomes, alarms, options)
        except AssayError as error:
            print(f"{entry.name}: {error}", flush=True)
            alarms.add(ASSAY, f"{entry.name}: {error}")
    shown = table(outcomes, alarms, " ".join(["python tests/benchmarks/mutation_score.py", *sys.argv[1:]]))
    print(shown)
    if options.write:
        options.write.write_text(shown)
    counted = [o for o in outcomes if not o.is_equivalent]
    is_good = sum(ASSAY in o.caught_by for o in counted) >= 0.99 * len(counted)
    raise SystemExit(not is_good or bool(alarms.refused.get(ASSAY)))


if __name__ == "__main__":
    main()
