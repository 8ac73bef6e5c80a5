"""Step 4: export to ONNX, and see that the file runs at other sizes."""

import logging
from collections.abc import Mapping
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE
from torch import nn

from tasks.core.export.fallback import export
from tasks.core.inputs.choice import Inputs
from tasks.core.onnx_files.reading import readable
from tasks.core.records.candidate import Candidate
from tasks.core.reference.reference import Reference
from tasks.core.spec.export_spec import ResolvedSpec

log = logging.getLogger("assay")


@task(task_run_name="export-{spec.title}", timeout_seconds=3600, cache_policy=NO_CACHE, persist_result=False)
def export_onnx(
    spec: ResolvedSpec,
    network: nn.Module,
    inputs: Inputs,
    *,
    reference: Reference,
    provenance: Mapping[str, str],
    folder: Path,
    verbose: bool = False,
) -> Candidate:
    """Export to `folder/model.onnx` with the provenance in its metadata."""
    candidate, graph = export(spec, network, inputs, reference=reference, provenance=provenance, folder=folder)
    if verbose:
        log.info("%s", readable(graph))
    return candidate
