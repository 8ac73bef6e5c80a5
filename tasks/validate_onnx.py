"""Step 5: measure how the file compares with the module, and judge."""

from typing import TYPE_CHECKING

from prefect.artifacts import create_markdown_artifact

from tasks.core.records.evidence import Evidence
from tasks.core.records.steps import Candidate
from tasks.core.reports.markdown import escaped, parity_lines
from tasks.core.reports.wording import VERDICT_MARKS
from tasks.step import show, step

if TYPE_CHECKING:
    from tasks.core.inputs.inputs import Inputs
    from tasks.core.proof.validation import Proof
    from tasks.core.reference.module import BuiltModule


def _said(evidence: Evidence) -> str:
    ratio = evidence.noise_ratio
    return f"{evidence.verdict}, {'nothing compared' if ratio is None else f'worst noise ratio {ratio:.2f}'}"


@step(seconds=3600, says=lambda proof: _said(proof.evidence), keeps=lambda proof: {"evidence": proof.evidence})
def validate_onnx(candidate: Candidate, module: "BuiltModule", inputs: "Inputs", *, keep: bool = False) -> "Proof":
    """Run every probe through the file and the module; never raises because a number is bad.

    Args:
        candidate: the file, and what it answered already.
        module: the module.
        inputs: probes, and how forward takes them.
        keep: the module's answers, for another file; else they are let go.
    """
    from tasks.core.proof.validation import validate

    proof = validate(
        candidate,
        module.reference(inputs),
        constant_outputs=module.spec.constant_outputs,
        random_weights=module.weights.kind == "random",
        notes=module.report.notes,
        keep=keep,
    )
    evidence, is_foreign = proof.evidence, candidate.graph.exporter == "other"
    title = f"{module.spec.title} {candidate.graph.path.name}" if is_foreign else module.spec.title
    heading, reasons = f"## {escaped(title)}: {VERDICT_MARKS[evidence.verdict]}", map(escaped, evidence.reasons)
    lines = [heading, "", *reasons, "", *parity_lines(evidence)]
    show(create_markdown_artifact, markdown="\n".join(lines), key="parity", description=f"Parity of {escaped(title)}")
    return proof
