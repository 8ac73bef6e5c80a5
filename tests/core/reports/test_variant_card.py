"""The page of a variant says what it loses, on what, and where; its table is one."""

from tasks.core.records.latency import Timing
from tasks.core.records.variants import (
    AsDeclared,
    Attempted,
    DataRecord,
    Loss,
    NodeLoss,
    Precision,
    VariantEvidence,
    VariantTerms,
)
from tasks.core.reports.variant_card import variant_card

SOURCE = "digits version 3"
DATA = DataRecord(origin="evaluation.npz", sha256="ab" * 32, num_samples=450, has_labels=True)


def test_a_card_has_all_that_was_measured() -> None:
    """Claim, size, loss with its interval, error, latency, data, kept nodes, and a table of nodes."""
    timing = Timing(median_ms=2.0, low_ms=1.9, high_ms=2.1, num_runs=50)
    evidence = VariantEvidence(
        verdict="pass", reasons=(), claim="loses at most 0.85% accuracy", source=SOURCE, source_sha256="cd",
        terms=VariantTerms(kind="fp16"), evaluation=DATA, source_bytes=1000, size_bytes=500,
        declared=AsDeclared(levels=0.1, company=0.2, limit=2.0),
        precision=Precision(error=0.001, ideal=0.001, limit=3.0),
        loss=Loss(measure="accuracy", num_samples=450, loss=0.0, low=-0.0085, high=0.0085, budget=0.01, num_worse=0,
                  num_better=0),
        where=(NodeLoss(node="conv_1", operator="Conv", error=0.001),
               NodeLoss(node="fc", operator="Gemm", error=0.0001)),
        kept=("head|1",),
        path=(Attempted(kept=(), loss=0.1, high=0.2), Attempted(kept=("head|1",), loss=0.0, high=0.0085)),
        latency=timing, source_latency=Timing(median_ms=1.0, low_ms=0.9, high_ms=1.1, num_runs=50),
    )  # fmt: skip
    card = variant_card(evidence)
    assert card.startswith("### fp16 of digits version 3: ✔ pass\n\n**Loses at most 0.85% accuracy.**")
    assert "- Size: 500 bytes, 50% of the proven file\n- Loss (accuracy): 0.00%, from -0.85% to 0.85% (95 %)" in card
    assert "where half precision only adds casts" in card
    assert "- Evaluated on evaluation.npz, 450 samples, `abababababab`" in card
    assert "- In float32: head\\|1" in card
    assert "  - 1 nodes in float32: loss 0.00%, at most 0.85%" in card
    assert "|---|---|---|\n| conv\\_1 | Conv | 0.001 |\n| fc | Gemm | 0.0001 |" in card


def test_one_that_was_not_measured_says_why() -> None:
    """The reason stands where the claim would."""
    evidence = VariantEvidence(
        verdict="inconclusive", reasons=("nothing says what int8 costs",), source=SOURCE, source_sha256="cd",
        terms=VariantTerms(kind="int8"),
    )  # fmt: skip
    assert "**Nothing says what int8 costs.**" in variant_card(evidence)
