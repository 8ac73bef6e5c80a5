"""The last step of a verification: log the evidence of a file that somebody else made, which stays where it is."""

from typing import TYPE_CHECKING

from tasks.core.provenance.attempts import Attempt
from tasks.core.records.steps import Release
from tasks.mlflow_store.runs import open_run
from tasks.step import step

if TYPE_CHECKING:
    from tasks.core.proof.proof import Proof


@step(seconds=3600, name="log_export", says=lambda release: release.run_id)
def log_verification(attempt: Attempt, proof: "Proof") -> Release:
    """Log what was measured, bad or good; nothing is registered.

    Args:
        attempt: with the file's evidence.
        proof: with the defect, of a wrong file.

    Raises:
        ServiceError: the tracking server could not be reached.
    """
    with open_run(attempt) as run:
        run.log_metrics()
        run.log_files(proof.defect)
    return run.release
