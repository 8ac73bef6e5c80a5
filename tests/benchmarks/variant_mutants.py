"""Broken variants: which of them does Assay refuse, beside the tolerances that others use.

    RW_SITE=real python tests/benchmarks/variant_mutants.py [--select GLOB] [--rows FILE.json]

Six models of tests/models/panel.py, two with real weights (RW_SITE), are exported; of each an int8-static variant is
made, of two an int8 one, too. Each is judged, and broken in each way at two places. The budget is the upper end of what
the sound variant loses. Where there are labels, a twentieth of them is made wrong, too: caught if the claim says so. A
mutant is equivalent if its error on the evaluation samples is at most 5 % above the sound
variant's. Each row is kept in FILE.json, so that a run that is cut short goes on. Ten minutes on one core.
"""

import argparse
import fnmatch
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT))

from tasks.core.records.variants import VariantEvidence, VariantTerms  # noqa: E402  the project's folder comes first
from tasks.core.variants.data import Batch, Data  # noqa: E402
from tasks.core.variants.judgement import Judge  # noqa: E402
from tasks.core.variants.making import Recipe, made_quietly, read_source  # noqa: E402
from tasks.core.variants.running import Outputs, answers, relative_error  # noqa: E402
from tests.benchmarks.variant_real import CALIBRATION, EVALUATION, TRIALS, crops  # noqa: E402
from tests.models.panel import PANEL, prepare  # noqa: E402

NAMES = {
    "digits": ("int8", "int8-static"), "tiny_vit": ("int8", "int8-static"), "tiny_convnext": ("int8-static",),
    "mobilenet_v2": ("int8-static",), "efficientnet_lite0": ("int8-static",), "mobilenetv2_embedder": ("int8-static",),
}  # fmt: skip
"""Models of the panel, and which variants of them; ONNX Runtime's integer convolutions are slow."""
NUM_CALIBRATION, NUM_EVALUATION = 64, 128
EQUIVALENT = 1.05
NOISE = "labels_with_noise"
PEERS = ("SQNR > 20 dB", "cosine > 0.99", "allclose 1 %")
_DIGITS = PROJECT / "deployments" / "digits"
Mutation = Callable[["File"], Iterator[onnx.ModelProto]]
Row = dict[str, Any]


@dataclass
class File:
    """A variant that is to be broken, and how it was made."""

    model: onnx.ModelProto
    source: onnx.ModelProto
    recipe: Recipe

    def weights(self) -> list[tuple[str, str, onnx.NodeProto]]:
        """Names of quantised weights and of their scales, with the nodes that take them."""
        num_dims = {t.name: len(t.dims) for t in self.model.graph.initializer}
        found = []
        for node in self.model.graph.node:
            if node.op_type == "DequantizeLinear" and num_dims.get(node.input[0], 0) > 1:
                found.append((node.input[0], node.input[1], node))
            elif node.op_type in ("ConvInteger", "MatMulInteger") and node.input[1] in num_dims:
                found.append((node.input[1], node.input[1].removesuffix("_quantized") + "_scale", node))
        return found

    def grids(self) -> list[tuple[str, str]]:
        """Names of scales and zero points of activations."""
        tensors = {t.name for t in self.model.graph.initializer}
        nodes = [node for node in self.model.graph.node if node.op_type == "QuantizeLinear"]
        pairs = [(node.input[1], node.input[2]) for node in nodes if {*node.input[1:3]} <= tensors]
        return list(dict.fromkeys(pairs))

    def changed(self, **arrays: np.ndarray) -> onnx.ModelProto:
        """A copy with other constants."""
        copy = onnx.ModelProto()
        copy.CopyFrom(self.model)
        for tensor in copy.graph.initializer:
            if tensor.name in arrays:
                was = numpy_helper.to_array(tensor)
                tensor.CopyFrom(numpy_helper.from_array(np.asarray(arrays[tensor.name]).astype(was.dtype), tensor.name))
        return copy

    def array(self, name: str) -> np.ndarray:
        """A constant's values."""
        return numpy_helper.to_array(next(t for t in self.model.graph.initializer if t.name == name))


def _two(places: list[Any]) -> list[Any]:
    """One from the first half and one from the second."""
    return [places[len(places) // 4], places[3 * len(places) // 4]] if len(places) > 1 else places


def wrong_scale(file: File) -> Iterator[onnx.ModelProto]:
    """The scales of one weight are a tenth too large."""
    for _, scale, _ in _two(file.weights()):
        yield file.changed(**{scale: file.array(scale) * 1.1})


def saturating_weights(file: File) -> Iterator[onnx.ModelProto]:
    """All weights of a layer are at most a third of what they may be."""
    for name, _, _ in _two(file.weights()):
        yield file.changed(**{name: np.clip(file.array(name), -40, 40)})


def four_bits(file: File) -> Iterator[onnx.ModelProto]:
    """One layer has 16 steps."""
    for name, _, _ in _two(file.weights()):
        yield file.changed(**{name: np.clip(np.round(file.array(name) / 16.0) * 16, -127, 127)})


def swapped_zero_point(file: File) -> Iterator[onnx.ModelProto]:
    """Two activations have each other's zero point."""
    zeros = {zero: int(file.array(zero).reshape(())) for _, zero in file.grids()}
    pairs = [(a, b) for a, b in zip(zeros, list(zeros)[1:], strict=False) if abs(zeros[a] - zeros[b]) > 2]
    for a, b in _two(pairs):
        yield file.changed(**{a: file.array(b), b: file.array(a)})


def wrong_range(file: File) -> Iterator[onnx.ModelProto]:
    """The scale of one activation is a fifth too small."""
    for scale, _ in _two(file.grids()):
        yield file.changed(**{scale: file.array(scale) * 0.8})


def stale_calibration(file: File) -> Iterator[onnx.ModelProto]:
    """Its ranges come of samples a quarter, and half, as large."""
    for share in (0.25, 0.5) if file.grids() else ():
        small = [Batch({n: a * np.float32(share) for n, a in b.arrays.items()}, None) for b in file.recipe.samples]
        yield made_quietly(file.source, replace(file.recipe, samples=small, known={}))


def per_tensor(file: File) -> Iterator[onnx.ModelProto]:
    """All weights have one scale each, though one a channel was asked for."""
    if not file.grids():
        return
    copy = onnx.ModelProto()
    copy.CopyFrom(file.model)
    tensors = {t.name: t for t in copy.graph.initializer}
    for name, scale_name, was in file.weights():
        scale, steps = file.array(scale_name), file.array(name)
        axis = next((a.i for a in was.attribute if a.name == "axis"), 1)
        if scale.size == 1:
            continue
        weight = steps * scale.reshape([-1 if i == axis % steps.ndim else 1 for i in range(steps.ndim)])
        one = np.float32(np.abs(weight).max() / 127)
        for tensor, array in ((name, np.round(weight / one).astype(np.int8)), (scale_name, np.array(one))):
            tensors[tensor].CopyFrom(numpy_helper.from_array(array, tensor))
        tensors[was.input[2]].CopyFrom(numpy_helper.from_array(np.array(0, np.int8), was.input[2]))
        node = next(n for n in copy.graph.node if n.name == was.name)
        node.ClearField("attribute")
    yield copy


MUTATIONS: tuple[Mutation, ...] = (
    wrong_scale, saturating_weights, four_bits, swapped_zero_point, wrong_range, stale_calibration, per_tensor,
)  # fmt: skip


def samples_of(name: str, folder: Path, inputs: Any) -> tuple[Data, Data, str | None]:
    """Calibration and evaluation of one model, and the measure of its loss.

    Args:
        name: of the model.
        folder: for what is drawn.
        inputs: of its file.
    """
    if name == "digits":
        return *(Data(str(_DIGITS / f"{kind}.npz"), inputs) for kind in ("calibration", "evaluation")), None
    trial = next((trial for trial in TRIALS if trial.name == name), None)
    generator, found = np.random.default_rng(0), []
    for kind, names, number in (("cal", CALIBRATION, NUM_CALIBRATION), ("eval", EVALUATION, NUM_EVALUATION)):
        shape = [number, *(int(dim) for dim in inputs[0].dims[1:])]
        if trial:
            rows = np.concatenate([part["image"] for part in crops(names, number, trial, side=shape[-1])])
        else:
            rows = generator.standard_normal(shape).astype(np.float32)
        np.savez(folder / f"{kind}.npz", **{inputs[0].name: rows})
        found.append(Data(str(folder / f"{kind}.npz"), inputs))
    return *found, trial and trial.measure


def run(name: str, rows: dict[str, Row], keep: Callable[[], None]) -> None:
    """Judge the variants of a model and their mutants, a row each.

    Args:
        name: of the model.
        rows: what is known, by name; gets the others.
        keep: called after each.
    """
    entry = next(entry for entry in PANEL if entry.name == name)
    if entry.missing:
        print(f"{name}: left out, {entry.missing}", flush=True)
        return
    with tempfile.TemporaryDirectory(prefix="assay-mutants-") as folder:
        graph = prepare(entry, Path(folder)).graph
        source = read_source(graph.path)
        calibration, evaluation, measure = samples_of(name, Path(folder), graph.inputs)
        judge = Judge(source, evaluation, [], ranking_seconds=0)
        wanted = list(answers(source.SerializeToString(), list(evaluation)))
        for kind in NAMES[name]:
            terms = VariantTerms(kind=kind, measure=measure)
            recipe = Recipe(terms, list(calibration))
            sound = made_quietly(source, recipe)
            loss = judge.loss(sound.SerializeToString(), terms)
            assert loss is not None
            recipe = replace(recipe, terms=terms.model_copy(update={"budget": min(loss.high + 1e-9, 1.0)}))
            base = _row(judge, sound, recipe, wanted, evaluation)
            rows.setdefault(f"{name}/{kind}/sound", base)
            for mutation in MUTATIONS:
                for number, mutant in enumerate(mutation(File(sound, source, recipe))):
                    key = f"{name}/{kind}/{mutation.__name__}/{number}"
                    if key not in rows:
                        rows[key] = _row(judge, mutant, recipe, wanted, evaluation)
                        rows[key]["is_equivalent"] = not rows[key]["error"] > EQUIVALENT * base["error"]
                        keep()
            for seed in range(2) if evaluation.record.has_labels else ():
                noisy = Judge(source, _with_noise(evaluation, Path(folder), seed), [], ranking_seconds=0)
                found = noisy.loss(sound.SerializeToString(), terms)
                told = {"told": found is not None and found.doubt, "caught_by": [], "is_equivalent": False}
                rows[f"{name}/{kind}/{NOISE}/{seed}"] = {"verdict": found and found.verdict, **told}
            keep()


def _with_noise(evaluation: Data, folder: Path, seed: int) -> Data:
    """The samples, a twentieth of them with the label of another class."""
    batches, generator = list(evaluation), np.random.default_rng(seed)
    labels = np.concatenate([batch.labels for batch in batches if batch.labels is not None])
    chosen = generator.permutation(len(labels))[: len(labels) // 20]
    num_classes = labels.max() + 1
    labels[chosen] = (labels[chosen] + generator.integers(1, num_classes, len(chosen))) % num_classes
    arrays = {name: np.concatenate([batch.arrays[name] for batch in batches]) for name in batches[0].arrays}
    np.savez(folder / f"noisy{seed}.npz", labels=labels, **arrays)
    return Data(str(folder / f"noisy{seed}.npz"), evaluation.inputs)


def _row(judge: Judge, model: onnx.ModelProto, recipe: Recipe, wanted: list[Outputs], evaluation: Data) -> Row:
    known = VariantEvidence(
        verdict="inconclusive", reasons=(), source="", source_sha256="", terms=recipe.terms,
        evaluation=evaluation.record,
    )  # fmt: skip
    file = model.SerializeToString()
    evidence = judge.judge(file, recipe, known)
    found = list(answers(file, list(evaluation)))
    a, b = (np.concatenate([outputs[0] for outputs in each]).astype(np.float64) for each in (wanted, found))
    noise = float(np.square(b - a).sum())
    cosine = float((a * b).sum() / np.sqrt(np.square(a).sum() * np.square(b).sum()))
    good = (
        noise == 0 or 10 * np.log10(np.square(a).sum() / noise) > 20, cosine > 0.99,
        np.allclose(b, a, rtol=0.01, atol=0.01),
    )  # fmt: skip
    assert evidence.precision is not None
    assert evidence.declared is not None
    return {
        "verdict": evidence.verdict, "reasons": list(evidence.reasons), "error": relative_error(found, wanted),
        "ratio": evidence.precision.ratio, "suspects": [suspect.ratio for suspect in evidence.precision.suspects],
        "gain": evidence.precision.unrepaired / max(evidence.precision.repaired, 1e-30),
        "levels": evidence.declared.levels, "caught_by": [p for p, fine in zip(PEERS, good, strict=True) if not fine],
    }  # fmt: skip


def table(rows: dict[str, Row]) -> Iterator[str]:
    """What docs/variants.md has.

    Args:
        rows: by name.
    """
    yield f"| mutation | mutants | equivalent | Assay | {' | '.join(PEERS)} |"
    yield "|---|---|---|---|" + "---|" * len(PEERS)
    names = [*(mutation.__name__ for mutation in MUTATIONS), NOISE]
    for name in [*names, "all"]:
        chosen = [row for key, row in rows.items() if key.split("/")[2] in (names if name == "all" else [name])]
        counted = [row for row in chosen if not row["is_equivalent"]]
        if counted:
            yield f"| {name} | {len(chosen)} | {len(chosen) - len(counted)} | {' | '.join(_shares(counted))} |"
    sound = [row for key, row in rows.items() if key.endswith("/sound")]
    yield f"| *sound: false alarms* | {len(sound)} | | {' | '.join(_shares(sound))} |"


def _is_caught(row: Row) -> bool:
    return row["verdict"] == "fail" or bool(row.get("told"))


def _shares(rows: list[Row]) -> list[str]:
    counts = [sum(map(_is_caught, rows))]
    counts += [sum(peer in row["caught_by"] for row in rows) for peer in PEERS]
    return [f"{count / len(rows):.0%}" for count in counts]


def main() -> None:
    """Fill in the rows that are not there yet and print the table; exit 1 below 95 % or with a false alarm."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--select", metavar="GLOB", default="*", help="names of models")
    parser.add_argument("--rows", metavar="FILE", type=Path, default=PROJECT / "variant_mutants.json")
    options = parser.parse_args()
    rows: dict[str, Row] = json.loads(options.rows.read_text()) if options.rows.exists() else {}
    for name in NAMES:
        if fnmatch.fnmatch(name, options.select):
            run(name, rows, lambda: options.rows.write_text(json.dumps(rows, indent=1)) and None)
            print(f"{name}: {sum(key.startswith(f'{name}/') for key in rows)} rows", flush=True)
    print("\n".join(table(rows)))
    mutants = {key: row for key, row in rows.items() if "is_equivalent" in row and not row["is_equivalent"]}
    missed = [key for key, row in mutants.items() if not _is_caught(row)]
    alarms = [key for key, row in rows.items() if key.endswith("/sound") and row["verdict"] == "fail"]
    print(f"missed: {', '.join(missed) or 'none'}; false alarms: {', '.join(alarms) or 'none'}")
    raise SystemExit(len(missed) > 0.05 * len(mutants) or bool(alarms))


if __name__ == "__main__":
    main()
