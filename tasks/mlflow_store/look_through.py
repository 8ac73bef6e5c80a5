"""A look through the whole store: is what is stored of each version what was proven?"""

import fnmatch
from collections.abc import Callable, Iterator
from typing import Any

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from tasks.core.errors import one_line
from tasks.core.records.stored import State, StoredVersion
from tasks.mlflow_store.entries import VERDICT
from tasks.mlflow_store.releases import model_id_of, read_export, release_of
from tasks.mlflow_store.signing import wrong_signature
from tasks.mlflow_store.store import connect, is_unreachable, service_errors
from tasks.mlflow_store.stored_files import LOST, damage_of, note_damage


def look_through(glob: str = "*") -> Iterator[StoredVersion]:
    """Hash the files of all versions and hold them against their proofs; those that are damaged are marked as such.

    Models none of whose versions Assay made are passed over.

    Args:
        glob: names of registered models.

    Raises:
        ServiceError: MLflow can't be reached, or there is no store yet.
    """
    with service_errors():
        client = connect(make=False)
        for model in sorted(_all(client.search_registered_models), key=lambda model: str(model.name)):
            if fnmatch.fnmatchcase(model.name, glob):
                versions = list(_all(client.search_model_versions, f"name='{model.name}'"))
                if any(VERDICT in version.tags for version in versions):
                    for version in sorted(versions, key=lambda version: int(version.version)):
                        yield _look_at(client, version, model.aliases)


def _look_at(client: mlflow.MlflowClient, version: ModelVersion, aliases: dict[str, str]) -> StoredVersion:
    state, reason, sha256 = _state_of(client, version)
    name, number = version.name, str(version.version)
    return StoredVersion(
        name=name, version=number, model_uri=f"models:/{name}/{number}", state=state, reason=reason, onnx_sha256=sha256,
        aliases=tuple(sorted(alias for alias, target in aliases.items() if str(target) == number)),
    )  # fmt: skip


def _state_of(client: mlflow.MlflowClient, version: ModelVersion) -> tuple[State, str, str | None]:
    """The state of a version, what is wrong with it, and the hash that was proven."""
    try:
        past = read_export(release_of(client, version))
    except (MlflowException, OSError, ValueError, KeyError) as error:
        if is_unreachable(error):
            raise
        return "unproven", f"no record of its proof can be read ({one_line(error)})", None
    if past.evidence.verdict != "pass":
        return "unproven", f"its verdict is {past.evidence.verdict}", past.graph.sha256
    damage = damage_of(client, model_id_of(version), past.graph, thoroughly=True)
    note_damage(client, version, damage)
    if damage:
        return "lost" if damage.endswith(LOST) else "changed", damage, past.graph.sha256
    wrong = wrong_signature(model_id_of(version))
    return "unsigned" if wrong else "sound", wrong, past.graph.sha256


def _all(search: Callable[..., Any], *arguments: str) -> Iterator[Any]:
    """All pages of a search."""
    token = None
    while True:
        page = search(*arguments, page_token=token)
        yield from page
        token = page.token
        if not token:
            return
