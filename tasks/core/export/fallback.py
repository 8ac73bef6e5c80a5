"""Export with the exporters in turn until one gives a file that is right at other sizes, too."""

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx_ir as ir
from torch import nn

from tasks.core.arrays import EPS32, Array, ratio, rms
from tasks.core.errors import ExportError, SpecError
from tasks.core.export.exporters import Exported, Exporter, NarrowedError, exporter_order, run_exporter
from tasks.core.forward.outputs import name_outputs
from tasks.core.inputs.choice import Inputs
from tasks.core.inputs.probes import Probe
from tasks.core.onnx_files import cleaning, reading, writing
from tasks.core.onnx_files.skeletons import SIDECAR_KEY
from tasks.core.records.steps import Graph
from tasks.core.reference.groups import groups_of
from tasks.core.reference.reference import Reference
from tasks.core.reference.structure import structural_failure
from tasks.core.runtime import sessions
from tasks.core.spec.export_spec import ExportSpec

FILE_NAME = "model.onnx"
GROSS_LIMIT = 1000.0
"""Noise ratio of one unpooled probe beyond which a file is wrong; luck alone gave a true export 52."""


def export(
    spec: ExportSpec,
    model: nn.Module,
    inputs: Inputs,
    reference: Reference,
    *,
    provenance: Mapping[str, str],
    folder: Path,
) -> tuple[Graph, ir.Model]:
    """Export the module to `folder/model.onnx`; return the record and the graph itself.

    Raises:
        SpecError: the output names do not fit what forward returns.
        ExportError: no exporter gave a file.
    """
    output_names = _output_names(spec, model, inputs, reference)
    order, reason = exporter_order(spec)
    refused: list[str] = []
    made: tuple[Graph, ir.Model] | None = None
    beyond: dict[str, tuple[int, ...]] = {}
    sessions.prepare()
    started = time.perf_counter()
    for exporter in order:
        try:
            exported = run_exporter(exporter, model, inputs, output_names=output_names, opset=spec.opset)
        except ExportError as error:
            refused.append(str(error))
            if isinstance(error, NarrowedError):
                beyond[error.name] = error.beyond
            continue
        why = reason if not refused else f"{'; '.join(refused)}, so {exporter}"
        cleaning.name_output_dims(exported.graph, _observed_shapes(inputs, reference))
        made = _write(spec, model, exported, exporter, why, provenance, folder, time.perf_counter() - started)
        made = made[0].model_copy(update={"beyond": beyond}), made[1]
        wrong = _wrong_at_other_sizes(made[0], inputs, reference)
        if not wrong:
            return made
        refused.append(f"{exporter} gave a wrong file: {wrong}")
    if made is not None:
        return made  # wrong, and the last resort: the proof will say so with its figures
    raise ExportError(f"{spec.title} could not be exported: {'; '.join(refused)}.")


def _output_names(spec: ExportSpec, model: nn.Module, inputs: Inputs, reference: Reference) -> tuple[str, ...]:
    reference.float32(inputs.probes[0])
    names = name_outputs(reference.names, spec.outputs)
    if unknown := [name for name in spec.constant_outputs if name not in names]:
        raise SpecError(f"--constant-output {unknown[0]} is no output; the model has {', '.join(names)}.")
    taken = {*inputs.names, *(name for name, _ in model.named_parameters()), *(n for n, _ in model.named_buffers())}
    if spec.outputs and (clash := [name for name in names if name in taken]):
        raise SpecError(f"--output {clash[0]} is the name of an input or parameter; give the output another one.")
    return tuple(f"{name}_out" if name in taken else name for name in names)


def _write(
    spec: ExportSpec,
    model: nn.Module,
    exported: Exported,
    exporter: Exporter,
    reason: str,
    provenance: Mapping[str, str],
    folder: Path,
    seconds: float,
) -> tuple[Graph, ir.Model]:
    graph = exported.graph
    cleaning.clean(graph)
    given = spec.input_names[len(graph.graph.inputs) :]
    parameters = [name for name, _ in model.named_parameters()]
    labels = cleaning.label_parameters(graph, given, parameters)
    lost = [f"{label} has no parameter of its own in the graph" for label in given if label not in labels]
    for key, value in {**provenance, "assay.exporter": exporter, "assay.opset": str(spec.opset)}.items():
        graph.metadata_props[key] = value
    path = folder / FILE_NAME
    sha256, sidecar = writing.write(graph, path)
    return Graph(
        path=path,
        sha256=sha256,
        size_bytes=path.stat().st_size + (sidecar.stat().st_size if sidecar else 0),
        sidecar=sidecar,
        sidecar_sha256=graph.metadata_props.get(SIDECAR_KEY),
        inputs=reading.tensor_types(graph.graph.inputs),
        outputs=reading.tensor_types(graph.graph.outputs),
        opset=spec.opset,
        num_nodes=graph.graph.num_nodes(),
        exporter=exporter,
        exporter_reason=reason,
        labels=labels,
        notes=(*(f"static: {what}, as {why}" for what, why in spec.static.items()), *exported.notes, *lost),
        doubts=exported.doubts,
        seconds=seconds,
    ), graph


def _wrong_at_other_sizes(graph: Graph, inputs: Inputs, reference: Reference) -> str:
    """What is grossly wrong at a second and an odd size of each dynamic dim; empty where nothing is."""
    probes = _other_sizes(inputs)
    try:
        answers = sessions.answers(graph.path, (inputs.arrays(probe) for probe in probes), level="off")
        for probe, answer in zip(probes, answers, strict=True):
            reference.file_answers[graph.sha256, "off", probe.key] = answer
    except sessions.SessionError as error:
        return str(error)
    names = [output.name for output in graph.outputs]
    sized_by_data = {index for group in groups_of(reference) for index in group.outputs}
    for probe, answer in zip(probes, answers, strict=True):
        if failure := structural_failure(answer, reference.float32(probe), names, sized_by_data):
            return failure
        for index, name in enumerate(names):
            if index in sized_by_data:
                continue  # matched item by item in validation
            found = _gross_ratio(index, answer[index], probe, reference)
            if not found <= GROSS_LIMIT:
                return f"{name} is off by {found:.3g} times the noise at {probe.sizes}"
    return ""


def _gross_ratio(index: int, onnx: Array, probe: Probe, reference: Reference) -> float:
    """Difference from torch32 as a multiple of one rounding, or of what perturbed weights make where that is more.

    float64 is left to validation.
    """
    torch32 = reference.float32(probe)[index]
    if torch32.dtype.kind != "f":
        return 0.0
    wanted = torch32.astype(np.float64)
    found = ratio(rms(onnx - wanted), EPS32 * rms(wanted))
    if found <= GROSS_LIMIT:
        return found  # as it mostly is, and no further run is needed
    perturbed = reference.perturbed(probe, seed=0)[index]
    if torch32.shape != perturbed.shape:
        return 0.0
    return ratio(rms(onnx - wanted), max(rms(perturbed - wanted), EPS32 * rms(wanted)))


def _observed_shapes(inputs: Inputs, reference: Reference) -> list[tuple[Mapping[str, int], list[tuple[int, ...]]]]:
    probes = {probe.key: probe for probe in (inputs.probes[0], *_other_sizes(inputs))}.values()
    return [(probe.sizes, [array.shape for array in reference.float32(probe)]) for probe in probes]


def _other_sizes(inputs: Inputs) -> list[Probe]:
    first, *others = inputs.probes
    kept = [p for p in others if p.family == first.family and p.sizes != first.sizes and not p.optional]
    return kept or [first]
