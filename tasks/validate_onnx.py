"""Step 5: measure how the file compares with the module, and judge."""

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from tasks.core.proof.proof import Proof
from tasks.core.proof.validation import validate
from tasks.core.records.candidate import Candidate
from tasks.core.reference.reference import Reference
from tasks.core.reports.markdown import VERDICT_MARKS, parity_lines


@task(task_run_name="validate-{title}", timeout_seconds=3600, cache_policy=NO_CACHE, persist_result=False)
def validate_onnx(
    title: str,
    candidate: Candidate,
    reference: Reference,
    *,
    constant_outputs: tuple[str, ...] = (),
    random_weights: bool = False,
    notes: tuple[str, ...] = (),
    keep: bool = False,
) -> Proof:
    """Run every probe through the file and the module; never raises because a number is bad."""
    proof = validate(
        candidate, reference,
        constant_outputs=constant_outputs, random_weights=random_weights, notes=notes, keep=keep,
    )  # fmt: skip
    evidence = proof.evidence
    lines = [f"## {title}: {VERDICT_MARKS[evidence.verdict]}", "", *evidence.reasons, "", *parity_lines(evidence)]
    create_markdown_artifact("\n".join(lines), key="parity", description=f"Parity of {title}")
    return proof
