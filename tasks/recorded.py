"""One MLflow run an attempt, whatever ends it."""

import contextlib
from collections.abc import Iterator

from tasks.core.provenance.attempts import Attempt
from tasks.mlflow_store.runs import log_failure
from tasks.step import under_way


@contextlib.contextmanager
def recorded(attempt: Attempt) -> Iterator[Attempt]:
    """Within this context an attempt is under way; an error, an interruption or a time limit is recorded, too.

    What comes to its end is recorded by `log_export` or `log_verification`.
    """
    try:
        with under_way(attempt):
            yield attempt
    except BaseException as error:
        if getattr(error, "run_id", None) is None:
            log_failure(attempt, error)
        raise
