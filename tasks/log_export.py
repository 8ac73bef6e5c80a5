"""Step 6: log everything to MLflow, prove what can be downloaded again, register it."""

from typing import TYPE_CHECKING

from prefect.artifacts import create_link_artifact

from tasks.core.provenance.attempts import Attempt
from tasks.core.records.steps import Candidate, Release
from tasks.core.reports.markdown import escaped
from tasks.core.runtime.work_folders import temporary_files_in
from tasks.mlflow_store.registration import check_download, log_model, register
from tasks.mlflow_store.releases import RECORD_FILE
from tasks.mlflow_store.runs import REPORT_FILE, open_run
from tasks.mlflow_store.signing import sign_model
from tasks.step import show, step

if TYPE_CHECKING:
    from tasks.core.proof.validation import Proof


@step(seconds=3600, says=lambda release: release.model_uri or release.run_id)
def log_export(attempt: Attempt, candidate: Candidate, proof: "Proof") -> Release:
    """Log an export, bad or good; register and promote it if what was downloaded again is right.

    Args:
        attempt: with all records of the steps before.
        candidate: the file.
        proof: evidence, witness and, of a wrong file, the defect.

    Raises:
        ServiceError: the tracking server could not be reached.
        ExportError: the downloaded bytes are not the proven ones.
    """
    # what is uploaded and downloaded again lies with the file until all is done
    with temporary_files_in(candidate.graph.path.parent), open_run(attempt) as run:
        run.release = log_model(run, candidate.graph)
        check_download(candidate.graph, run.release, proof.witness)
        run.mark_verdict()
        run.log_files(proof.defect)
        if proof.evidence.verdict == "pass":
            record = (RECORD_FILE, attempt.to_json())
            sign_model(run.client, str(run.release.model_id), candidate.graph, record=record)
            run.release = register(run, run.release, candidate.graph)
    _link(run.release, attempt.title)
    return run.release


def _link(release: Release, title: str) -> None:
    """Let Prefect's page of the run lead to the report and to the version."""
    if release.version_url:
        text = f"{escaped(title)} version {release.version}"
        show(
            create_link_artifact, link=release.version_url, link_text=text, key="mlflow-version",
            description="in MLflow",
        )  # fmt: skip
    address, _, query = release.run_url.partition("?")
    report = f"{address}/artifacts/{REPORT_FILE}?{query}"
    said = {"key": "report", "description": "what was compared"}
    show(create_link_artifact, link=report, link_text=f"report on {escaped(title)}", **said)


@step(seconds=3600, name="log_export", says=lambda release: release.run_id)
def log_verification(attempt: Attempt, proof: "Proof") -> Release:
    """Log what was measured on a file that somebody else made, bad or good; nothing is registered.

    Args:
        attempt: with the file's evidence.
        proof: with the defect, of a wrong file.
    """
    with open_run(attempt) as run:
        run.log_metrics()
        run.log_files(proof.defect)
    return run.release
