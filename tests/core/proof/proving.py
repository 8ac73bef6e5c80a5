"""Export a live module, change the file, and prove it: what the tests of verdicts share."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from torch import nn

from tasks.core.export.fallback import export
from tasks.core.hashes import file_sha256
from tasks.core.inputs.choice import choose_inputs
from tasks.core.inputs.inputs import Inputs
from tasks.core.proof.validation import validate
from tasks.core.records.evidence import Evidence
from tasks.core.records.steps import Candidate, Graph
from tasks.core.reference.reference import Reference
from tasks.core.spec.export_spec import ExportSpec
from tasks.core.spec.resolve import resolve

IMAGE = ("image=float32[batch,3,8,8]",)
Mutation = Callable[[onnx.ModelProto], None]


@dataclass(frozen=True)
class Exported:
    """A file, and what it is held against; it may be proven again and again, changed or not."""

    candidate: Candidate
    inputs: Inputs
    reference: Reference

    @property
    def graph(self) -> Graph:
        """The file."""
        return self.candidate.graph

    def prove(self, *, mutate: Mutation | None = None, constant_outputs: tuple[str, ...] = ()) -> Evidence:
        """Validate the file, or a copy that is broken first."""
        candidate = self.candidate
        if mutate is not None:
            proto = onnx.load(self.graph.path)
            mutate(proto)
            path = self.graph.path.with_name("mutated.onnx")
            onnx.save(proto, path)
            candidate = Candidate(self.graph.model_copy(update={"path": path, "sha256": file_sha256(path)}))
        return validate(candidate, self.reference, constant_outputs=constant_outputs, keep=True).evidence


def exported(model: nn.Module, inputs: tuple[str, ...], folder: Path, **fields: Any) -> Exported:
    """Export a live module to `model.onnx` in a folder."""
    spec = resolve(ExportSpec(model=model, name="tiny", inputs=inputs, **fields))
    chosen = choose_inputs(spec, model.eval())
    reference = Reference(model, chosen)
    candidate, _ = export(spec, reference, provenance={}, folder=folder)
    return Exported(candidate, chosen, reference)


def prove(
    model: nn.Module,
    inputs: tuple[str, ...],
    folder: Path,
    *,
    mutate: Mutation | None = None,
    constant_outputs: tuple[str, ...] = (),
    **fields: Any,
) -> Evidence:
    """Export a live module, break the file if asked to, and validate it."""
    return exported(model, inputs, folder, **fields).prove(mutate=mutate, constant_outputs=constant_outputs)


def weight(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Mutation:
    """Change an initializer."""

    def mutate(proto: onnx.ModelProto) -> None:
        tensor = next(t for t in proto.graph.initializer if t.name == name)
        values = change(numpy_helper.to_array(tensor).copy())
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values, dtype=np.float32), name))

    return mutate


def swap(first: str, second: str) -> Mutation:
    """Exchange two values, wherever they stand; what the graph declares stays."""

    def mutate(proto: onnx.ModelProto) -> None:
        names = {first: second, second: first}
        for node in proto.graph.node:
            for places in (node.input, node.output):
                places[:] = [names.get(name, name) for name in places]

    return mutate


def led_through(output: str, op_type: str, *constants: np.ndarray, is_right: bool = True) -> Mutation:
    """Lead an output through one more node, on its left or right side."""

    def mutate(proto: onnx.ModelProto) -> None:
        inside = f"{output}_before"
        for node in proto.graph.node:
            for places in (node.input, node.output):
                places[:] = [inside if name == output else name for name in places]
        names = [f"{output}_{op_type}_{index}" for index in range(len(constants))]
        for name, array in zip(names, constants, strict=True):
            proto.graph.initializer.append(numpy_helper.from_array(array, name))
        fed = [inside, *names] if is_right else [*names, inside]
        proto.graph.node.append(helper.make_node(op_type, fed, [output], name=f"last_{output}"))

    return mutate


def both(*mutations: Mutation) -> Mutation:
    """One after another."""

    def mutate(proto: onnx.ModelProto) -> None:
        for mutation in mutations:
            mutation(proto)

    return mutate
