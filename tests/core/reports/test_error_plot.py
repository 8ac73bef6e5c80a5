"""The plot must hold for whatever numbers a wrong file gives."""

import math

from hypothesis import given
from hypothesis import strategies as st

from tasks.core.arrays import EPS32
from tasks.core.reports.error_plot import ErrorPlot, error_plot, noise_floor
from tests.core.reports.report_records import make_family

_ANY = st.floats(min_value=0) | st.just(math.nan)


@given(st.lists(st.tuples(_ANY, _ANY, _ANY), min_size=1, max_size=5))
def test_every_mark_lies_in_the_view(figures: list[tuple[float, float, float]]) -> None:
    """Zero, NaN, infinite, tiny and huge errors are all drawn within the view box, in the rows' order."""
    names = ("noise_ratio", "relative_error", "torch_relative_error")
    plot = error_plot([make_family(**dict(zip(names, row, strict=True))) for row in figures], noise_limit=8.0)
    for x in _marks(plot):
        assert plot.left <= x <= plot.right <= plot.width
    assert [row.y for row in plot.rows] == sorted({row.y for row in plot.rows})
    assert all(plot.top < row.y < plot.bottom < plot.height for row in plot.rows)
    assert 3 <= len(plot.ticks) <= 10
    for row in plot.rows:
        assert row.is_inside == (row.parity.noise_ratio <= 8.0)
        assert (row.edge == "high") or math.isfinite(row.parity.relative_error)


def test_the_plot_keeps_the_order_of_the_numbers() -> None:
    """Floor, sound error, limit and wrong error lie from left to right, and the floor is never below eps32."""
    given: list[dict[str, float]] = [{"relative_error": 4e-7}, {"relative_error": 1e-2}, {"torch_relative_error": 0.0}]
    sound, wrong, lucky = error_plot([make_family(**figures) for figures in given], noise_limit=8.0).rows
    assert sound.floor is not None
    assert sound.limit is not None
    assert lucky.floor is not None
    assert sound.floor < sound.error < sound.limit < wrong.error
    assert lucky.floor < sound.floor
    assert noise_floor(lucky.parity) == EPS32


def _marks(plot: ErrorPlot) -> list[float]:
    marks = [x for x, _ in plot.ticks]
    return marks + [x for row in plot.rows for x in (row.floor, row.limit, row.error) if x is not None]
