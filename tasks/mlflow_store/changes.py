"""What is new about a registered model since its last attempt; its tags remember."""

from mlflow.exceptions import MlflowException

from tasks.core.records.record import Record
from tasks.mlflow_store.shared_entries import write_shared
from tasks.mlflow_store.store import CHAMPION, connect, service_errors

LAST_VERDICT, LAST_CHAMPION = "assay.last_verdict", "assay.last_champion"
"""Tags of the registered model."""


class Changes(Record):
    """The last attempt's verdict and champion, where they were others; None: they were not, or nothing was known."""

    verdict_before: str | None = None
    champion_before: str | None = None
    champion: str | None = None
    """The version that is champion now, if that is news."""


def note_changes(name: str, verdict: str) -> Changes:
    """Compare an attempt with the one before, and remember it; a ServiceError if MLflow can't be reached.

    Args:
        name: of the registered model, which need not exist.
        verdict: of the attempt.
    """
    with service_errors():
        client = connect()
        try:
            model = client.get_registered_model(name)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return Changes()
            raise
        champion = str(model.aliases[CHAMPION]) if CHAMPION in model.aliases else None
        before = {tag: model.tags.get(tag) for tag in (LAST_VERDICT, LAST_CHAMPION)}
        for tag, value in ((LAST_VERDICT, verdict), (LAST_CHAMPION, champion)):
            if value and value != before[tag]:
                write_shared(client.set_registered_model_tag, name, tag, value)
    is_other = champion is not None and champion != before[LAST_CHAMPION]
    return Changes(
        verdict_before=before[LAST_VERDICT] if before[LAST_VERDICT] != verdict else None,
        champion_before=before[LAST_CHAMPION] if is_other else None,
        champion=champion if is_other else None,
    )
