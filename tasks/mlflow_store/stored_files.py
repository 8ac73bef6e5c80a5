"""What is stored is looked at before it is believed: there, of the proven size, and from time to time hashed again."""

import re
import time
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import mlflow
from mlflow.entities import LoggedModel
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from tasks.core.hashes import file_sha256
from tasks.core.records.steps import Graph
from tasks.core.runtime.work_folders import work_folder
from tasks.mlflow_store.releases import GRAPH_FILE, download_model, folder_of

CHECKED = "assay.checked"
"""Tag of the logged model: when its bytes were last found to be the proven ones, in seconds since the epoch."""
DAMAGED = "assay.damaged"
"""Tag of a version: what is wrong with what is stored of it."""
LOST = "is lost"
"""End of the words about a damage that leaves no file at all."""
_CHECK_SECONDS = 24 * 3600.0
_NOTE = re.compile(r"\A> \*\*✘ Damaged:\*\*[^\n]*\n\n")


def damage_of(client: mlflow.MlflowClient, model_id: str, graph: Graph, *, thoroughly: bool = False) -> str:
    """What is wrong with the stored file of a proven export, in a few words; empty: nothing.

    Args:
        client: of the store.
        model_id: of the logged model.
        graph: as it was proven.
        thoroughly: hash it now; else where a day has passed, or the file was written to, since it was last done.
    """
    try:
        model = client.get_logged_model(model_id)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return f"its logged model {LOST}"
        raise
    proven = proven_hashes(graph)
    folder = folder_of(model)
    try:
        sizes = _sizes_in(folder) if folder else _sizes_of(client, model_id)
        if lost := [name for name in proven if name not in sizes]:
            return f"{lost[0]} {LOST}"
        found = sum(sizes[name] for name in proven)
        if found != graph.size_bytes:
            return f"{' and '.join(proven)}: {found:,} bytes are stored, {graph.size_bytes:,} were proven"
        if not thoroughly and not _is_due(model, folder):
            return ""
        started = time.time()  # what is written to while it is hashed is looked at again
        with work_folder() as temporary:
            place = folder or download_model(model_id, temporary)
            for name, sha256 in proven.items():
                if (stored := file_sha256(place / name)) != sha256:
                    return f"{name} has SHA-256 {stored[:12]}, and {sha256[:12]} was proven"
    except PermissionError as error:
        return f"it can't be read ({error.strerror})"
    note_check(client, model_id, at=started)
    return ""


def proven_hashes(graph: Graph) -> dict[str, str]:
    """SHA-256 of the files of a logged model that are proven, by name.

    Args:
        graph: as it was proven.
    """
    sidecar = {graph.sidecar.name: graph.sidecar_sha256} if graph.sidecar and graph.sidecar_sha256 else {}
    return {GRAPH_FILE: graph.sha256, **sidecar}


def note_check(client: mlflow.MlflowClient, model_id: str, *, at: float | None = None) -> None:
    """Remember that the stored bytes were found to be the proven ones.

    Args:
        client: of the store.
        model_id: of the logged model.
        at: when the look at them began, in seconds since the epoch; None: just now.
    """
    client.set_logged_model_tags(model_id, {CHECKED: f"{at or time.time():.3f}"})


def note_damage(client: mlflow.MlflowClient, version: ModelVersion, damage: str) -> None:
    """Say on a version's page and in a tag what is wrong with its file; where it is right again, no longer.

    Args:
        client: of the store.
        version: as it is registered.
        damage: as `damage_of` has it.
    """
    before = version.tags.get(DAMAGED, "")
    if damage == before:
        return
    name, number = version.name, str(version.version)
    if damage:
        client.set_model_version_tag(name, number, DAMAGED, damage)
    else:
        client.delete_model_version_tag(name, number, DAMAGED)
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    note = f"> **✘ Damaged:** {damage} (seen {now}). Load another version.\n\n" if damage else ""
    client.update_model_version(name, number, description=note + _NOTE.sub("", version.description or ""))


def _is_due(model: LoggedModel, folder: Path | None) -> bool:
    """Has a day passed since it was hashed, or was the folder of this machine that holds it written to?"""
    checked = float(model.tags.get(CHECKED, 0))
    written = max((path.stat().st_mtime for path in folder.iterdir()), default=0.0) if folder else 0.0
    return time.time() - checked > _CHECK_SECONDS or written > checked


def _sizes_in(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in folder.iterdir() if path.is_file()} if folder.is_dir() else {}


def _sizes_of(client: mlflow.MlflowClient, model_id: str) -> dict[str, int]:
    found = client.list_logged_model_artifacts(model_id)
    return {PurePosixPath(file.path).name: int(file.file_size or 0) for file in found if not file.is_dir}
