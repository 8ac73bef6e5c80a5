"""A pass is earned: what was seen decides, by arithmetic alone, and needs no PyTorch."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.inputs.probes import Probe
from tasks.core.limits import JUDGED_FAMILIES, MOVEMENT_LIMIT, NOISE_LIMIT, SLICE_LIMIT
from tasks.core.proof.observations import ItemCount, Observations, Observed
from tasks.core.proof.parity import ExactPool, FloatPool, OutputRuns
from tasks.core.proof.plan import Plan
from tasks.core.proof.verdict import judge
from tasks.core.records.evidence import Evidence
from tasks.core.records.steps import Graph, TensorType
from tasks.core.spec.input_spec import InputSpec

FAMILIES = ("normal", "range", "sample", "wide", "zeros")
BATCH = InputSpec.parse("image=float32[batch=2,4]")
VALUES = np.random.default_rng(0).standard_normal((4, 16)).astype(np.float32)


def _probe(family: str = "normal", seed: int = 1, batch: int = 2) -> Probe:
    return Probe(family=family, seed=seed, sizes={"batch": batch})


PROBES = (_probe(), _probe(seed=2), _probe(seed=3, batch=3), _probe("wide", 20), _probe("zeros", 21, 1))


def _graph(**changes: Any) -> Graph:
    return Graph(
        path=Path("model.onnx"), sha256="0" * 64, size_bytes=1, opset=20, num_nodes=1, exporter="other",
        exporter_reason="", inputs=(TensorType(name="image", dtype="float32", dims=("batch", 4)),),
        outputs=(TensorType(name="scores", dtype="float32", dims=("batch", 16)),), **changes,
    )  # fmt: skip


def _plan(**changes: Any) -> Plan:
    return Plan(**{"graph": _graph(), "specs": (BATCH,), "probes": PROBES, **changes})


def _pool(family: str, factor: float = 1.0, num_rows: int = 4) -> FloatPool:
    """A pool whose file is off by `factor` times the noise of torch32."""
    pool, torch32 = FloatPool(family), VALUES[:num_rows]
    float64 = torch32 + 1e-6
    onnx = (float64 - 1e-6 * factor).astype(np.float64)
    pool.add(OutputRuns([onnx], torch32.astype(np.float64), [], float64, batch_axis=0))
    return pool


def _output(*families: str, **changes: Any) -> Observed:
    """An output that was compared and moved on these families, right to the last digit."""
    sound: dict[str, Any] = {
        "pools": {family: _pool(family) for family in families},
        "movements": {family: 1e5 for family in families if family in JUDGED_FAMILIES},
        "num_elements": 64, "still_share": 0.0,
    }  # fmt: skip
    return Observed("scores", **{**sound, **changes})


def _seen(*outputs: Observed, **changes: Any) -> Observations:
    found = outputs or (_output("normal", "wide", "zeros"),)
    return Observations(**{"outputs": [*found], "compared": [*PROBES], **changes})


def _said(evidence: Evidence) -> str:
    return "; ".join(evidence.reasons)


def test_what_was_compared_and_moved_passes() -> None:
    """The sound case, of which the others differ in one respect each."""
    evidence = judge(_plan(), _seen())
    assert (evidence.verdict, evidence.reasons) == ("pass", ())
    assert [probe.family for probe in evidence.probes] == [probe.family for probe in PROBES]


@pytest.mark.parametrize("word", ["failures", "doubts"])
def test_a_failure_or_a_doubt_prevents_a_pass(word: str) -> None:
    """Whatever was noted stands in the reasons, and decides."""
    evidence = judge(_plan(), _seen(**{word: ["so it is"]}))
    assert evidence.verdict == {"failures": "fail", "doubts": "inconclusive"}[word]
    assert evidence.reasons == ("so it is",)


@pytest.mark.parametrize("factor", [2 * NOISE_LIMIT, float("nan")])
def test_an_error_beyond_the_limit_fails_and_so_does_nan(factor: float) -> None:
    """In any family, also one that is not judged for power."""
    for family in FAMILIES:
        output = _output("normal", pools={"normal": _pool("normal"), family: _pool(family, factor)})
        assert judge(_plan(), _seen(output)).verdict == "fail"


def test_an_error_of_one_slice_fails() -> None:
    """Though all elements together are within the limit."""
    pool, wrong = FloatPool("normal"), VALUES.astype(np.float64) + 1e-6
    wrong[:, 3] += 1.2 * SLICE_LIMIT * 1e-6
    many = [np.tile(array, (4, 1)) for array in (wrong, VALUES.astype(np.float64), VALUES + 1e-6)]
    pool.add(OutputRuns([many[0]], many[1], [], many[2], batch_axis=0))
    evidence = judge(_plan(), _seen(_output("normal", pools={"normal": pool})))
    assert evidence.verdict == "fail"
    assert "scores at axis 1, index 3 is off by" in _said(evidence)


def test_items_on_a_wide_picture_alone_prove_nothing() -> None:
    """A detector that finds nothing where it is judged agrees with any file that finds nothing there."""
    items = {"normal": ItemCount(), "wide": ItemCount(num_reference=1, num_matched=1)}
    pools = {"normal": _pool("normal", num_rows=0), "wide": _pool("wide", num_rows=1)}
    output = _output("normal", "wide", pools=pools, items=items, num_elements=0, movements={"normal": 0.0})
    evidence = judge(_plan(), _seen(output))
    assert evidence.verdict == "inconclusive"
    assert "scores is empty on every probe (normal)" in _said(evidence)


@pytest.mark.parametrize(("num_excused", "verdict"), [(1, "pass"), (2, "inconclusive")])
def test_too_many_excuses_prove_nothing(num_excused: int, verdict: str) -> None:
    """One of ten items may lie on an edge, two of ten are too many for a pass."""
    count = ItemCount(num_reference=10, num_matched=10 - num_excused, num_excused=num_excused)
    evidence = judge(_plan(), _seen(_output("normal", items={"normal": count})))
    assert evidence.verdict == verdict, evidence.reasons
    assert verdict == "pass" or "only 8 of 10 detected items could be compared" in evidence.reasons[0]


def test_an_item_without_a_partner_fails() -> None:
    """Even where all others agree to the last digit."""
    count = ItemCount(num_reference=10, num_matched=9, num_unmatched=1, first_unmatched="item 3: the file lacks it")
    evidence = judge(_plan(), _seen(_output("normal", items={"normal": count})))
    assert evidence.verdict == "fail"
    assert "(normal; item 3: the file lacks it)" in _said(evidence)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"num_elements": 0, "pools": {"normal": _pool("normal", num_rows=0)}}, "is empty on every probe"),
        ({"not_finite": {"normal": "1 of 9"}}, "is not finite in PyTorch itself: 1 of 9"),
        ({"num_zeros": 64}, "is exactly zero on every probe"),
        ({"movements": {"normal": MOVEMENT_LIMIT / 2}}, "moves with the input by only 50 times the noise"),
        ({"movements": {"normal": float("nan")}}, "moves with the input by only nan times the noise"),
        ({"movements": {"wide": 1e5}}, "moves with the input by only 0 times the noise"),
        ({"movements": {}}, "moves with the input by only 0 times the noise"),
        ({"still_share": 0.995}, "is saturated: 99.5%"),
        ({"pools": {"wide": _pool("wide")}}, "so none was compared"),
        ({"pools": {}}, "so none was compared"),
    ],
)
def test_an_output_that_could_not_show_a_difference_is_inconclusive(changes: dict[str, Any], says: str) -> None:
    """Empty, not finite, zero, still, saturated, or compared on no family that is judged: no pass, and the reason."""
    evidence = judge(_plan(), _seen(_output("normal", **changes)))
    assert evidence.verdict == "inconclusive"
    assert says in _said(evidence)


def test_every_output_needs_power() -> None:
    """A second output that is sound does not make up for one that is dead."""
    dead = _output("normal", movements={"normal": 0.0})
    for outputs in ((dead, _output("normal")), (_output("normal"), dead)):
        assert judge(_plan(), _seen(*outputs)).verdict == "inconclusive"


def test_a_constant_output_needs_no_movement_but_a_comparison() -> None:
    """--constant-output takes the demand to move away, and nothing else."""
    plan = _plan(constant_outputs=("scores",))
    assert judge(plan, _seen(_output("normal", movements={"normal": 0.0}))).verdict == "pass"
    assert judge(plan, _seen(_output("normal", pools={}))).verdict == "inconclusive"
    assert judge(plan, _seen(_output("normal", not_finite={"normal": "1 of 9"}))).verdict == "inconclusive"


def test_a_planned_probe_that_was_lost_prevents_a_pass() -> None:
    """Every planned probe was compared, or is among the skipped with a reason."""
    lost = PROBES[-1]
    evidence = judge(_plan(), _seen(compared=[*PROBES[:-1]]))
    assert evidence.verdict == "inconclusive"
    assert "1 of 5 planned probes were not run, the first of them zeros inputs at batch=1" in _said(evidence)
    evidence = judge(_plan(), _seen(compared=[*PROBES[:-1]], skipped=[(lost, "the module itself refuses it")]))
    assert evidence.verdict == "pass"
    assert evidence.skipped == ("zeros seed 21 at batch=1: the module itself refuses it",)


def test_nothing_compared_is_no_pass() -> None:
    """Neither where all probes were skipped, nor where there was none, nor where there is no output."""
    skipped = [(probe, "not reached") for probe in PROBES]
    for plan, seen in (
        (_plan(), _seen(compared=[], skipped=skipped)),
        (_plan(probes=()), _seen(compared=[])),
        (_plan(), Observations(outputs=[], compared=[*PROBES])),
    ):
        evidence = judge(plan, seen)
        assert (evidence.verdict, evidence.reasons) == ("inconclusive", ("nothing was compared",))


def test_integers_that_float32_gets_wrong_prove_nothing() -> None:
    """Above one in a hundred, equality with torch32 says little."""
    pool, values = ExactPool("normal"), np.arange(64).reshape(4, 16)
    pool.add(OutputRuns([values], values, [], np.where(values < 2, values + 1, values), batch_axis=0))
    evidence = judge(_plan(), _seen(_output("normal", pools={"normal": pool})))
    assert evidence.verdict == "inconclusive"
    assert "3.1% of scores hang on a rounding" in _said(evidence)


_FIGURES = st.floats(allow_nan=True, allow_infinity=True)
_OUTPUTS = st.builds(
    lambda pools, **figures: Observed("scores", pools={p.result().family: p for p in pools}, **figures),
    pools=st.lists(
        st.builds(_pool, st.sampled_from(FAMILIES), st.sampled_from([0.0, 1.0, 7.0, 9.0, float("nan")]),
                  st.sampled_from([0, 1, 4])),
        max_size=3,
    ),
    movements=st.dictionaries(st.sampled_from(FAMILIES), _FIGURES, max_size=3),
    still_share=st.floats(0, 1),
    not_finite=st.dictionaries(st.sampled_from(FAMILIES), st.just("1 of 9"), max_size=3),
    num_elements=st.sampled_from([0, 64]),
    num_zeros=st.sampled_from([0, 10, 64]),
    items=st.dictionaries(
        st.sampled_from(FAMILIES),
        st.builds(ItemCount, *[st.integers(0, 12)] * 4, st.floats(0, 1), st.just("item")),
        max_size=2,
    ),
)  # fmt: skip


@given(
    outputs=st.lists(_OUTPUTS, max_size=3),
    compared=st.sets(st.sampled_from(range(len(PROBES)))),
    skipped=st.sets(st.sampled_from(range(len(PROBES)))),
    failures=st.lists(st.just("wrong"), max_size=1),
    doubts=st.lists(st.just("unsure"), max_size=1),
    constant=st.booleans(),
)
def test_a_pass_is_earned(
    outputs: list[Observed],
    compared: set[int],
    skipped: set[int],
    failures: list[str],
    doubts: list[str],
    constant: bool,
) -> None:
    """Whatever was seen, a pass implies all that a pass must have; and without reasons there is no other verdict."""
    seen = Observations(
        outputs=outputs, failures=failures, doubts=doubts,
        compared=[PROBES[i] for i in sorted(compared)], skipped=[(PROBES[i], "why") for i in sorted(skipped)],
    )  # fmt: skip
    evidence = judge(_plan(constant_outputs=("scores",) if constant else ()), seen)
    assert bool(evidence.reasons) == (evidence.verdict != "pass")
    if evidence.verdict != "pass":
        return
    assert not failures
    assert not doubts
    assert compared | skipped == set(range(len(PROBES)))
    assert len(evidence.outputs) == len(outputs) > 0
    for output in evidence.outputs:
        compared_on = [f.family for f in output.families if f.family in JUDGED_FAMILIES and f.num_elements > 0]
        assert compared_on
        assert constant or any(output.power.families.get(f, 0.0) >= MOVEMENT_LIMIT for f in compared_on)
        assert output.power.num_elements > 0
        assert all(f.noise_ratio <= NOISE_LIMIT and f.slice_ratio <= SLICE_LIMIT for f in output.families)
        assert output.detections is None or output.detections.num_unmatched == 0


def test_judging_needs_neither_torch_nor_onnxruntime() -> None:
    """So that the verdict can be tested, and read again, in a moment."""
    code = (
        "import sys, tasks.core.proof.verdict, tasks.core.records.steps\n"
        "sys.exit(', '.join({'torch', 'onnx', 'onnxruntime', 'onnx_ir'} & set(sys.modules)) or 0)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
