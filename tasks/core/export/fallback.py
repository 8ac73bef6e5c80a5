"""Export with the exporters in turn until one gives a file that is right at other sizes, too."""

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from torch import nn

from tasks.core.arrays import Array, eps_of, ratio, rms
from tasks.core.errors import ExportError, ModelError, NarrowedError, SpecError
from tasks.core.export.exporters import exporter_order, run_exporter
from tasks.core.export.remedies import declared, refuses_beyond, with_fixed_sizes, within
from tasks.core.export.torch_exporters import Exported
from tasks.core.families.family import Exporter
from tasks.core.families.registry import family_of
from tasks.core.forward.outputs import name_outputs
from tasks.core.inputs.probes import Probe, all_sizes
from tasks.core.limits import BEYOND_LUCK, MAX_REMEDY_SECONDS
from tasks.core.onnx_files import cleaning, reading, writing
from tasks.core.onnx_files.lazy_reading import SIDECAR_KEY
from tasks.core.records.steps import Candidate, FileAnswers, Graph
from tasks.core.reference.reference import Reference
from tasks.core.reference.structure import structural_failure, without_nan
from tasks.core.runtime import sessions
from tasks.core.runtime.work_folders import work_folder
from tasks.core.spec.export_spec import ResolvedSpec


def export(
    spec: ResolvedSpec, reference: Reference, *, provenance: Mapping[str, str], folder: Path
) -> tuple[Candidate, ir.Model]:
    """Export a module to `folder/model.onnx`; return the file with what it answered, and the graph itself.

    An ExportError if no exporter gave a file, a SpecError if the output names do not fit what forward returns.

    Args:
        spec: exporter, opset and names of outputs that were asked for.
        reference: the module in eval mode, its inputs and its answers.
        provenance: goes into the file's metadata.
        folder: of the file; exists.
    """
    output_names = _output_names(spec, reference)
    reason = exporter_order(spec)[1]
    refused: list[str] = []
    made: tuple[Candidate, ir.Model] | None = None
    narrowed: NarrowedError | None = None
    sessions.prepare()
    started = time.perf_counter()
    for exporter, network, words in _attempts(spec, reference):
        with_words = f"{exporter} with {words}" if words else exporter
        try:
            with reference.inputs.kept():
                exported = _run(exporter, spec, reference, network=network, output_names=output_names)
        except ExportError as error:
            refused.append(f"with {words} {error}" if words else str(error))
            narrowed = error if isinstance(error, NarrowedError) else narrowed
            continue
        known = {
            "exporter": exporter,
            "exporter_reason": f"{'; '.join(refused)}, so {with_words}" if refused else reason,
            "beyond": {**({} if narrowed is None else narrowed.beyond), **exported.suspicious},
            **_cleaned(spec, reference, exported),
            "seconds": time.perf_counter() - started,  # writing is not the exporter's
        }
        if words:
            known["notes"] = (f"exported with {words}, on a copy of the module", *known["notes"])
        props = {**provenance, "assay.exporter": exporter, "assay.opset": str(spec.opset)}
        graph = _written(exported.graph, folder / "model.onnx", props=props, known=known)
        answers, wrong = _try_other_sizes(graph, reference)
        made = Candidate(graph, answers), exported.graph
        if not wrong:
            return made
        refused.append(f"{with_words} gave a wrong file: {wrong}")
    seconds = time.perf_counter() - started
    remedy = _remedy(spec, reference, narrowed, output_names=output_names, seconds=seconds, has_file=made is not None)
    if made is not None:  # wrong, and the last resort: the proof will say so with its figures
        candidate, model = made
        return replace(candidate, graph=candidate.graph.model_copy(update={"remedy": remedy})), model
    said = filter(None, [*refused, remedy, reference.inputs.overwritten])
    raise ExportError(f"{spec.title} could not be exported: {'; '.join(said)}.")


def _attempts(spec: ResolvedSpec, reference: Reference) -> Iterator[tuple[Exporter, nn.Module, str]]:
    """Exporters in turn; then the same with what stands in for the module, and what is different about that."""
    order, _ = exporter_order(spec)
    yield from ((exporter, reference.network, "") for exporter in order)
    for words, network in family_of(spec.model).stand_ins(reference.network):
        yield from ((exporter, network, words) for exporter in order)


def _run(
    exporter: Exporter, spec: ResolvedSpec, reference: Reference, *, network: nn.Module, output_names: tuple[str, ...]
) -> Exported:
    """Run an exporter; take what is narrower than asked where the module itself refuses the other sizes."""
    inputs = reference.inputs
    try:
        return run_exporter(exporter, network, inputs, output_names=output_names, opset=spec.opset)
    except NarrowedError as error:
        if not refuses_beyond(reference, error.limits):
            raise
        edges = {name: tuple(end for end in ends if end is not None) for name, ends in error.limits.items()}
        shown = {name: "..".join(str(end or "") for end in ends) for name, ends in error.limits.items()}
        notes = (
            f"{name} is limited to {ends}, as the model itself refuses other sizes" for name, ends in shown.items()
        )
        exported: Exported = error.exported
        return replace(exported, notes=(*exported.notes, *notes), suspicious=edges)


def _remedy(
    spec: ResolvedSpec,
    reference: Reference,
    narrowed: NarrowedError | None,
    *,
    output_names: tuple[str, ...],
    seconds: float,
    has_file: bool,
) -> str:
    """What to declare instead, tried where the exports did not take long; empty: nothing is known to help."""
    network, inputs, until = reference.network, reference.inputs, time.perf_counter() + MAX_REMEDY_SECONDS
    if narrowed is not None:
        limited = within(inputs, narrowed.limits)
        if _is_right(spec, Reference(network, limited), narrowed.exported):
            return f"with limits dynamo gives a right file: {declared(limited.specs)}"
    for words, fixed in with_fixed_sizes(inputs):
        if seconds > MAX_REMEDY_SECONDS:
            untried = f"(not tried, as the exports took {seconds:.0f} s)"
            return f"with {words} it may pass {untried}: {declared(fixed.specs)}" if has_file else ""
        for exporter in exporter_order(spec)[0]:
            if time.perf_counter() > until:
                return ""
            with contextlib.suppress(ExportError):
                exported = run_exporter(exporter, network, fixed, output_names=output_names, opset=spec.opset)
                if _is_right(spec, Reference(network, fixed), exported):
                    return f"with {words} {exporter} gives a right file: {declared(fixed.specs)}"
    return ""


def _is_right(spec: ResolvedSpec, reference: Reference, exported: Exported) -> bool:
    """Does a graph do what the module does, as far as running it at the planned sizes tells?"""
    known = {"exporter": "other", "exporter_reason": "a trial"}
    with work_folder() as folder, contextlib.suppress(ModelError):
        known |= _cleaned(spec, reference, exported)
        graph = _written(exported.graph, folder / "model.onnx", props={}, known=known)
        return not _try_other_sizes(graph, reference)[1]
    return False


def _output_names(spec: ResolvedSpec, reference: Reference) -> tuple[str, ...]:
    names = name_outputs(reference.output_names, spec.outputs)
    if unknown := [name for name in spec.constant_outputs if name not in names]:
        raise SpecError(f"--constant-output {unknown[0]} is no output; the model has {', '.join(names)}.")
    tensors = (*reference.network.named_parameters(), *reference.network.named_buffers())
    taken = {*reference.inputs.names, *(name for name, _ in tensors)}
    if names != reference.output_names and (clash := [name for name in names if name in taken]):
        raise SpecError(f"--output {clash[0]} is the name of an input or parameter; give the output another one.")
    return tuple(f"{name}_out" if name in taken else name for name in names)


def _cleaned(spec: ResolvedSpec, reference: Reference, exported: Exported) -> dict[str, Any]:
    """Clean the graph in place; return what is to be said of it, by field of `Graph`."""
    first = reference.inputs.probes[0]
    probes = {probe.key: probe for probe in (first, *_other_sizes(reference))}.values()
    observed = [
        (all_sizes(reference.inputs.specs, probe.sizes), [array.shape for array in reference.float32(probe)])
        for probe in probes
        if probe.sizes.keys() == first.sizes.keys()  # else one has another size than it follows from
    ]
    cleaning.name_output_dims(exported.graph, observed, _fixed_dims(exported.graph, observed, reference))
    cleaning.clean_metadata(exported.graph)
    given = spec.input_names[len(exported.graph.graph.inputs) :]
    pairs = zip(given, (name for name, _ in reference.network.named_parameters()), strict=False)
    labels = cleaning.label_parameters(exported.graph, dict(pairs))
    static = [f"static: {what}, as {why}" for what, why in spec.static.items()]
    lost = [f"{label} has no parameter of its own in the graph" for label in given if label not in labels]
    notes = (*static, *exported.notes, *lost)
    return {"notes": notes, "branches": exported.branches, "opset": spec.opset}


def _fixed_dims(graph: ir.Model, observed: cleaning.ObservedShapes, reference: Reference) -> dict[cleaning.Place, int]:
    """Output dims that a graph leaves open, though the module, followed with symbols for sizes, has them fixed."""
    unvaried, inputs = cleaning.unvaried_dims(graph, observed), reference.inputs
    if not unvaried:
        return {}
    from tasks.core.forward.size_conditions import fixed_output_dims  # imports half a second of PyTorch

    known = fixed_output_dims(reference.network, inputs.arguments_without_values, inputs.probes[0].sizes)
    return {(index, axis): size for (index, axis), size in unvaried.items() if known and known[index][axis] == size}


def _written(model: ir.Model, path: Path, *, props: Mapping[str, str], known: Mapping[str, Any]) -> Graph:
    """Write the graph with its provenance, and describe the file."""
    model.metadata_props.update(props)
    sha256, sidecar = writing.write(model, path)
    return Graph(
        path=path,
        sha256=sha256,
        size_bytes=path.stat().st_size + (sidecar.stat().st_size if sidecar else 0),
        sidecar=sidecar,
        sidecar_sha256=model.metadata_props.get(SIDECAR_KEY),
        inputs=reading.tensor_types(model.graph.inputs),
        outputs=reading.tensor_types(model.graph.outputs),
        num_nodes=model.graph.num_nodes(),
        **known,
    )


def _try_other_sizes(graph: Graph, reference: Reference) -> tuple[FileAnswers, str]:
    """Run the file at other sizes of each dynamic dim: its answers, and what is grossly wrong with them; else empty."""
    probes = [*_other_sizes(reference), *_masked(reference)]
    try:
        found = sessions.answers(graph.path, map(reference.inputs.arrays, probes), level="off")
    except sessions.SessionError as error:
        return {}, str(error)
    answers = {("off", probe.key): answer for probe, answer in zip(probes, found, strict=True)}
    names = [output.name for output in graph.outputs]
    for probe, answer in zip(probes, found, strict=True):
        torch32 = reference.float32(probe)
        left_out = np.isnan if probe.family == "masks" else None
        if probe.family == "masks":
            rows = reference.inputs.masks.hidden_whole(reference.inputs.arrays(probe))
            answer = without_nan(answer, torch32, rows)  # as the proof does
        sized = reference.sized_by_data
        if wrong := structural_failure(answer, torch32, names, sized_by_data=sized, left_out=left_out):
            return answers, wrong
        for index, name in enumerate(names):
            if index in reference.sized_by_data:
                continue  # matched item by item in validation
            off = _gross_ratio(answer[index], torch32[index])
            if not off <= BEYOND_LUCK:  # rare enough for a further run of the module
                off = _gross_ratio(answer[index], torch32[index], reference.perturbed(probe, seed=0)[index])
            if not off <= BEYOND_LUCK:
                where = f"at {probe.sizes}{' (masks)' if probe.family == 'masks' else ''}"
                return answers, f"{name} is off by {off:.3g} times the noise {where}"
    return answers, ""


def _gross_ratio(onnx: Array, torch32: Array, perturbed: Array | None = None) -> float:
    """Difference from torch32 as a multiple of one rounding, or of what perturbed weights make where that is more."""
    if torch32.dtype.kind != "f" or (perturbed is not None and perturbed.shape != torch32.shape):
        return 0.0
    finite = np.isfinite(torch32)
    onnx, wanted = onnx[finite], torch32[finite].astype(np.float64)
    perturbed = None if perturbed is None else perturbed[finite]
    noise = 0.0 if perturbed is None else rms(perturbed - wanted)
    return ratio(rms(onnx - wanted), max(noise, eps_of(torch32.dtype) * rms(wanted)))


def _other_sizes(reference: Reference) -> list[Probe]:
    first, *others = reference.inputs.probes
    kept = [p for p in others if p.family == first.family and p.sizes != first.sizes and not p.optional]
    return kept or [first]


def _masked(reference: Reference) -> Iterator[Probe]:
    """Probes whose masks hide rows whole, or not at all, as far as the module takes them."""
    for probe in (probe for probe in reference.inputs.probes if probe.family == "masks"):
        with contextlib.suppress(ModelError):
            reference.float32(probe)
            yield probe
