"""The report of a variant: claim, trade-off, four evidences; the table on the page of its model."""

import re

from tasks.core.records.latency import Timing
from tasks.core.records.variants import (
    AsDeclared,
    Attempted,
    DataRecord,
    Loss,
    NodeLoss,
    Precision,
    Suspect,
    TradeOff,
    VariantEvidence,
    VariantTerms,
)
from tasks.core.reports.variant_page import trade_off_lines, variant_page

ROWS = [
    TradeOff(name="digits", version="3", verdict="pass", size_bytes=90_000, latency_ms=0.02),
    TradeOff(name="digits-fp16", version="1", verdict="pass", size_bytes=48_000, loss=0.0, high=0.0085),
    TradeOff(name="digits-int8", version=None, verdict="fail", size_bytes=30_000, loss=0.1, high=0.2),
]
EVIDENCE = VariantEvidence(
    verdict="fail", reasons=("it loses <10 %>",), source="digits version 3", source_sha256="cd" * 32,
    terms=VariantTerms(kind="int8"), source_bytes=90_000, size_bytes=30_000,
    evaluation=DataRecord(origin="held-out.npz", sha256="ab" * 32, num_samples=450, has_labels=True),
    declared=AsDeclared(levels=0.1, company=0.7, limit=2.0, dynamic_scales=True),
    precision=Precision(error=0.02, ideal=0.01, limit=3.0, suspects=(Suspect(name="conv.w", kind="weight", ratio=4.5),),
                        unrepaired=0.02, repaired=0.011),
    loss=Loss(measure="accuracy", num_samples=450, loss=0.1, low=0.05, high=0.2, budget=0.01, num_worse=50,
              num_better=5, p_value=1e-9, num_surest=225, num_doubtful=20),
    where=(NodeLoss(node="conv|1", operator="Conv", error=0.02),), kept=("fc",),
    path=(Attempted(kept=(), loss=0.1, high=0.2), Attempted(kept=("fc",), loss=0.0, high=0.005)),
    latency=Timing(median_ms=2.0, low_ms=1.9, high_ms=2.1, num_runs=50),
)  # fmt: skip


def test_a_page_has_claim_trade_off_and_evidence() -> None:
    """In this order; names can't run."""
    page = variant_page("digits-int8", EVIDENCE, ROWS)
    said = " ".join(re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL).split())
    parts = [
        "It loses &lt;10 %&gt;.", "digits-fp16 ✔ pass 1 48.0 kB - 0.00% 0.85%", "5.00 to 20.00 % 95 % interval",
        "5 turn right, p = 1.00e-9", "225 samples of which the proven file is surest, 20 bear another label",
        "2 times that of an ideal simulation of int8", "conv.w weight 4.5", "since the batch gives the scales",
        "conv|1 Conv 0.02", "1 0.00 % 0.50 %", "held-out.npz, 450 samples with labels",
    ]  # fmt: skip
    places = [said.find(part) for part in parts]
    assert -1 not in places, parts[places.index(-1)]
    assert places == sorted(places)
    assert '<header class="fail">' in page


def test_what_was_not_measured_is_said() -> None:
    """Of a lossless variant nothing is lost, of a lossy one nobody knows."""
    bare = {"loss": None, "precision": None, "declared": None, "where": (), "path": (), "evaluation": None}
    for kind, words in (("slim", "Nothing: it is proven against the module"), ("fp16", "no evaluation data")):
        terms = EVIDENCE.terms.model_copy(update={"kind": kind})
        assert words in variant_page("digits-x", EVIDENCE.model_copy(update={**bare, "terms": terms}), ROWS)


def test_the_list_of_a_model_leads_to_its_variants() -> None:
    """A line each, without what was not measured."""
    lines = trade_off_lines([(ROWS[1], "#/a"), (ROWS[0], "#/b")]).splitlines()
    assert lines == [
        "* [digits-fp16 version 1](#/a): 48.0 kB, loses at most 0.85% (95 %)",
        "* [digits version 3](#/b): 90.0 kB, 0.02 ms a row",
    ]
