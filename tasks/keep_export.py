"""A finished export that MLflow could not take is kept, and the next run logs it without exporting again."""

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tasks.core.errors import ServiceError
from tasks.core.hashes import file_sha256
from tasks.core.paths import cache_folder
from tasks.core.provenance.attempts import Attempt, PastExport
from tasks.core.provenance.manifest import differences
from tasks.core.records.steps import Candidate, Graph, Release

if TYPE_CHECKING:
    from tasks.core.proof.validation import Proof

log = logging.getLogger("assay")

_RECORDS, _WITNESS = "export.json", "witness.npz"


@contextlib.contextmanager
def kept_if_not_logged(attempt: Attempt, proof: "Proof") -> Iterator[None]:
    """Within this context an export is logged; if MLflow can't take it, it is kept, and the error says where.

    What was kept of an earlier one is removed once this one is logged.

    Args:
        attempt: with all of its records; its file is there.
        proof: of it; nothing is kept of one that is not proven.
    """
    try:
        yield
    except ServiceError as error:
        _keep(attempt, proof, error)
        raise
    shutil.rmtree(_place(attempt.title), ignore_errors=True)


def _keep(attempt: Attempt, proof: "Proof", error: ServiceError) -> None:
    graph = attempt.graph
    if graph is None or attempt.verdict != "pass":
        return
    folder = _place(attempt.title)
    part = folder.with_name(f"{folder.name}.{os.getpid()}.part")
    try:
        part.mkdir(parents=True)
        for path in filter(None, (graph.path, graph.sidecar)):
            shutil.copyfile(path, part / path.name)
        (part / _RECORDS).write_text(attempt.to_json())
        if proof.witness is not None:
            arrays = {f"output{place}": answer for place, answer in enumerate(proof.witness.answers)}
            arrays |= {f"input {name}": array for name, array in proof.witness.arrays.items()}
            np.savez(part / _WITNESS, allow_pickle=False, **arrays)
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    except OSError as failure:
        log.warning("The finished export could not be kept in %s (%s).", folder, failure)
        shutil.rmtree(part, ignore_errors=True)
        return
    said = str(error).rstrip(".")
    error.args = (
        f"{said}; the finished export is kept in {folder}, and the next run logs it without exporting again.",
    )


def take_kept(attempt: Attempt, folder: Path) -> "tuple[Candidate, Proof] | None":
    """A kept export of the same, if all that decides it is as it was and its bytes are; its records go to the attempt.

    Args:
        attempt: whose module is built.
        folder: its work folder, where the file will lie.
    """
    kept = _place(attempt.title)
    if attempt.manifest is None or not kept.is_dir():
        return None
    try:
        records = json.loads((kept / _RECORDS).read_text())
        known = {name: records[name] for name in ("manifest", "graph", "evidence", "weights", "latency")}
        past = PastExport(release=Release(run_id=""), **known)
        graph = _taken(past.graph, kept, folder)
    except (OSError, ValueError, KeyError) as error:
        log.warning("The export kept in %s can't be read (%s), so it is made again.", kept, error)
        return None
    if graph is None or differences(past.manifest, attempt.manifest):
        return None
    from tasks.core.proof.validation import Proof, Witness

    witness = None
    if (kept / _WITNESS).is_file():
        with np.load(kept / _WITNESS) as stored:
            arrays = {name.removeprefix("input "): stored[name] for name in stored if name.startswith("input ")}
            witness = Witness(
                arrays, tuple(stored[f"output{place}"] for place in range(len(stored.files) - len(arrays)))
            )
    attempt.graph, attempt.evidence, attempt.latency = graph, past.evidence, past.latency
    attempt.seconds = {**records["seconds"], **attempt.seconds}
    log.info("finished before, and kept in %s as MLflow could not take it", kept)
    return Candidate(graph), Proof(past.evidence, None, witness)


def _taken(graph: Graph, kept: Path, folder: Path) -> Graph | None:
    """The file, copied to its new place; None: its bytes are no longer the proven ones."""
    copied = {"path": folder / graph.path.name}
    wanted = [(graph.path.name, graph.sha256)]
    if graph.sidecar:
        copied["sidecar"] = folder / graph.sidecar.name
        wanted.append((graph.sidecar.name, str(graph.sidecar_sha256)))
    for name, sha256 in wanted:
        shutil.copyfile(kept / name, folder / name)
        if file_sha256(folder / name) != sha256:
            return None
    return graph.model_copy(update=copied)


def _place(title: str) -> Path:
    readable = re.sub(r"[^\w.-]", "_", title)[:60]
    return cache_folder() / "finished" / f"{readable}-{hashlib.sha256(title.encode()).hexdigest()[:8]}"
