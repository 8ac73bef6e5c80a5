"""The newest proven version of a registered model, if what is stored of it is what was proven."""

import logging

from mlflow.exceptions import MlflowException

from tasks.core.provenance.attempts import PastExport
from tasks.mlflow_store.releases import read_export, release_of, version_at
from tasks.mlflow_store.signing import lacks_signature
from tasks.mlflow_store.store import CHAMPION, PROVEN, connect, is_there, is_unreachable, service_errors
from tasks.mlflow_store.stored_files import damage_of, note_damage

log = logging.getLogger("assay")


def find_proven(name: str, *, check: bool = False) -> PastExport | None:
    """The newest proven version with its records, and what is wrong with its stored file; None where there is none.

    Args:
        name: of the registered model.
        check: hash the stored file though that was done today.
    """
    if not is_there():
        return None
    with service_errors():
        client = connect()
        version = version_at(client, name, PROVEN) or version_at(client, name, CHAMPION)  # which older stores have only
        if version is None:
            return None
        try:
            found = read_export(release_of(client, version))
        except (MlflowException, OSError, ValueError, KeyError) as error:
            if is_unreachable(error):
                raise
            log.warning("%s %s can't be read back (%s), so it is exported again", name, version.version, error)
            return None
        damage = damage_of(client, str(found.release.model_id), found.graph, thoroughly=check)
        note_damage(client, version, damage)
        damage = damage or lacks_signature(client, str(found.release.model_id))
        return found.model_copy(update={"damage": damage})
