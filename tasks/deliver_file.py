"""Where the file of a result lies, and a copy of a proven one where the user wants it."""

import logging
import os
import shutil
from pathlib import Path

from tasks.core.errors import ExportError
from tasks.core.hashes import file_sha256
from tasks.core.provenance.signatures import sign, signer_id
from tasks.core.records.steps import ExportResult, Graph, Release
from tasks.core.runtime.work_folders import work_folder
from tasks.mlflow_store.releases import download_graph, stored_file

log = logging.getLogger("assay")


def deliver_file(result: ExportResult, output: Path | None = None) -> ExportResult:
    """Name the file's place; put a proven one at `output`, whole or not at all, and signed where a key is set.

    Args:
        result: of an export.
        output: path of the copy; its sidecar, if any, goes beside it. None: no copy.

    Raises:
        ExportError: the stored file is no longer the one that was proven, or `output` can't be written.
        ServiceError: the artifact store could not be reached.
    """
    graph, release = result.graph, result.release
    if result.unchanged:
        log.info("unchanged: %s", result.reason)
    if graph is None or release is None:
        return result
    if output is None or result.verdict != "pass":
        return result.model_copy(update={"onnx_path": stored_file(release)})
    with work_folder() as folder:
        _deliver(download_graph(release, folder), output, (graph, release))
    return result.model_copy(update={"onnx_path": output.resolve()})


def _deliver(source: Path, output: Path, proven: tuple[Graph, Release]) -> None:
    graph, release = proven
    wanted = [(source.with_name(graph.sidecar.name), graph.sidecar_sha256, "weights of")] if graph.sidecar else []
    parts: list[tuple[Path, Path]] = []
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        for path, sha256, what in (*wanted, (source, graph.sha256, "file of")):
            target = output if path == source else output.with_name(path.name)
            part = target.with_name(f".{target.name}.{os.getpid()}.part")
            parts.append((part, target))
            if path.is_file():
                shutil.copyfile(path, part)
            if not path.is_file() or file_sha256(part) != sha256:
                stored = f"What is stored as the {what} {release.model_uri}"
                raise ExportError(f"{stored} is not what was proven; export it anew with --force.")
        signature = output.with_name(f"{output.name}.sig")
        if signer_id():
            parts.append((signature.with_name(f".{signature.name}.{os.getpid()}.part"), signature))
            sign({target.name: part for part, target in parts[:-1]}, parts[-1][0])
        elif signature.exists() and not (output.is_file() and file_sha256(output) == graph.sha256):
            signature.unlink()  # of another file
        for part, target in parts:
            part.replace(target)
    except OSError as error:
        raise ExportError(f"{output} can't be written ({error}); name another place with -o.") from error
    finally:
        for part, _ in parts:
            part.unlink(missing_ok=True)
