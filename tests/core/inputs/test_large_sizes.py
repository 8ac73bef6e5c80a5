"""Each dynamic dimension is probed at a large size where that is affordable; else it is said why not."""

import pytest
import torch
from torch import nn

from tasks.core.inputs import large_sizes
from tasks.core.inputs.inputs import Inputs
from tasks.core.limits import LARGE_BATCH
from tests.core.inputs.choosing import Picky, chosen


class Rows(nn.Module):
    """Scales each element by its place."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """As many weights as there are columns."""
        return x * torch.arange(x.shape[1])


def large(inputs: Inputs) -> list[dict[str, int]]:
    """Sizes of the probes at large sizes."""
    return [probe.sizes for probe in inputs.probes if probe.family == "large"]


@pytest.mark.parametrize(
    ("declared", "wanted"),
    [
        ("x=float32[batch,3]", [{"batch": 33}]),
        ("x=float32[batch=16,3]", [{"batch": 129}]),
        ("x=float32[batch,length=10]", [{"batch": 33, "length": 10}, {"batch": 1, "length": 81}]),
        ("x=float32[batch:1..20,length=10:2..40]", []),  # bounds are proven as ever
        ("x=float32[batch,length=10:1..60]", [{"batch": 33, "length": 10}]),
        ("x=float32[2,3]", []),
    ],
)
def test_sizes_are_eight_times_the_traced_ones(declared: str, wanted: list[dict[str, int]]) -> None:
    """Of a batch at least 33, one dimension a probe, beside the traced sizes of the others and a batch of one."""
    assert large(chosen(Rows().eval(), declared)) == wanted


def test_a_large_batch_has_rows_of_other_probes_in_no_order() -> None:
    """Their float64 answers are known; a file that repeats its first rows is seen, as no two runs of rows are equal."""
    (probe,) = (p for p in chosen(Rows().eval(), "x=float32[batch,3]").probes if p.family == "large")
    rows = [(source.seed, row) for source, row in probe.rows]
    assert len(rows) == LARGE_BATCH
    assert len({*rows}) > 4
    assert all(rows[step:] != rows[:-step] for step in range(1, LARGE_BATCH - 4))


def test_what_the_module_refuses_is_tried_at_half_the_size() -> None:
    """The largest that it takes; if it takes none, that is told."""
    inputs = chosen(Picky(lambda _, length: length <= 50), "x=float32[batch,length=10]")
    assert large(inputs)[1:] == [{"batch": 1, "length": 41}]
    inputs = chosen(Picky(lambda _, length: length <= 20), "x=float32[batch,length=10]")
    assert large(inputs) == [{"batch": LARGE_BATCH, "length": 10}]
    assert [(probe.sizes["length"], why) for probe, why in inputs.skipped] == [(81, "the module itself refuses it")]


@pytest.mark.parametrize(
    ("limit", "why"), [("MAX_LARGE_SECONDS", "it would take about"), ("MAX_LARGE_BYTES", "a run would compute")]
)
def test_what_is_too_dear_is_skipped_with_its_reason(limit: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is run for it."""
    monkeypatch.setattr(large_sizes, limit, 0)
    monkeypatch.setattr(large_sizes, "CHEAP_SECONDS", 0)
    inputs = chosen(Rows().eval(), "x=float32[batch,length=10]")
    assert large(inputs) == []
    assert [probe.sizes for probe, _ in inputs.skipped] == [{"batch": 33, "length": 10}, {"batch": 1, "length": 81}]
    assert all(text.startswith(why) for _, text in inputs.skipped)


def test_a_side_of_a_picture_is_large_beside_a_small_one() -> None:
    """Eight times as high at the full width would take eight times as long."""
    inputs = chosen(nn.Conv2d(3, 2, 3).eval(), "image=float32[batch,3,height=64,width=64]")
    heights, widths = large(inputs)[1:]
    assert heights["height"] == widths["width"] == 513
