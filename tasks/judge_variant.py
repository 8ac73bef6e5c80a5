"""Measure what a lossy variant loses against the proven file, and judge."""

from pathlib import Path
from typing import TYPE_CHECKING

from tasks.core.records.variants import VariantEvidence
from tasks.step import step

if TYPE_CHECKING:
    from tasks.core.variants.judgement import Judge
    from tasks.core.variants.making import Recipe


def _said(evidence: VariantEvidence) -> str:
    return f"{evidence.verdict}, {evidence.claim or '; '.join(evidence.reasons)}"


@step(seconds=3600, says=_said)
def judge_variant(
    file: Path, judge: "Judge", *, recipe: "Recipe", known: VariantEvidence, beside: Path | None = None
) -> VariantEvidence:
    """Run the variant and the proven file on the same samples; never raises because a number is bad.

    Args:
        file: the variant.
        judge: with the proven file's answers.
        recipe: of the variant.
        known: where it comes from, and which data were given.
        beside: the proven file, to be timed with it by turns; None: nothing is timed.

    Raises:
        ExportError: ONNX Runtime refuses the variant.
    """
    from tasks.core.variants.latency import time_beside

    evidence = judge.judge(file.read_bytes(), recipe, known)
    timed = time_beside(beside, file, judge.row()) if beside and judge.has_samples else {}
    return evidence.model_copy(update=timed)
