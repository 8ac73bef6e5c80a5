"""Step 4: export to ONNX, and see that the file runs at other sizes."""

import logging
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.filesize import decimal

from tasks.core.provenance.attempts import provenance
from tasks.core.records.steps import Candidate
from tasks.core.spec.export_spec import ResolvedSpec
from tasks.step import step

if TYPE_CHECKING:
    from tasks.core.inputs.inputs import Inputs
    from tasks.core.reference.module import BuiltModule

log = logging.getLogger("assay")


def _memory(spec: ResolvedSpec, module: "BuiltModule", inputs: "Inputs", **_: Any) -> AbstractContextManager[None]:
    """Memory for the export and all that follows, promised to this process."""
    from tasks.core.runtime.reservations import needed_bytes, reserved

    return reserved(needed_bytes(module.network, run_bytes=inputs.run_bytes), title=spec.title)


def _said(candidate: Candidate) -> str:
    graph = candidate.graph
    return f"{graph.exporter}, opset {graph.opset}, {graph.num_nodes} nodes, {decimal(graph.size_bytes)}"


@step(seconds=3600, says=_said, keeps=lambda candidate: {"graph": candidate.graph}, holds=_memory)
def export_onnx(
    spec: ResolvedSpec, module: "BuiltModule", inputs: "Inputs", *, folder: Path, verbose: bool = False
) -> Candidate:
    """Export to `folder/model.onnx` with the provenance in its metadata.

    Args:
        spec: what was asked for.
        module: the module.
        inputs: what to trace with, and sizes to try the file at.
        folder: of the file, which is there while the attempt is under way.
        verbose: log the graph, readable.
    """
    from tasks.core.export.fallback import export
    from tasks.core.onnx_files.reading import readable

    said = module.report.preprocessing
    origin = provenance(spec, module.weights, module.manifest, preprocessing=said)
    candidate, graph = export(spec, module.reference(inputs), provenance=origin, folder=folder)
    if verbose:
        log.info("%s", readable(graph))
    return candidate
