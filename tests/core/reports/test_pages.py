"""Pages are rendered from the templates alone, and their numbers are short."""

import math

import jinja2
import pytest

from tasks.core.reports.numbers import bar_width, number, percent
from tasks.core.reports.pages import render

VALUES = {"headline": "2 models", "num_models": 2, "num_proven": 1, "is_proven": False, "columns": ["model"],
          "rows": [{"model": "<b>net</b>", "reason": ""}], "right": (), "colours": {}}  # fmt: skip


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (1.0523, "1.05"), (12345.6, "12,346"), (1.19e-7, "1.19e-7"), (3e30, "3.00e30"), (-0.5, "-0.5"),
     (math.inf, "∞"), (-math.inf, "−∞"), (math.nan, "NaN"), (8.0, "8"), (99.96, "100")],
)  # fmt: skip
def test_numbers_are_short(value: float, text: str) -> None:
    """Three digits are enough for a reader; what is no number is said so."""
    assert number(value) == text


def test_nearly_all_is_not_all() -> None:
    """A share is rounded to 100 % only where it is 100 %, and a bar has a width whatever its value."""
    assert [percent(share) for share in (0.0, 0.031, 0.99999, 1.0)] == ["0 %", "3.1 %", "> 99.9 %", "100 %"]
    assert [bar_width(value) for value in (math.nan, math.inf, 0.0, 1e-9, 100.0)] == [160, 160, 1, 1, 40]


def test_names_are_escaped() -> None:
    """What looks like a tag in a value is shown as text."""
    page = render("comparison.html.j2", **VALUES)
    assert "&lt;b&gt;net&lt;/b&gt;" in page
    assert "<b>" not in page


def test_a_value_that_a_template_misses_is_an_error() -> None:
    """Nothing is silently left blank."""
    with pytest.raises(jinja2.UndefinedError, match="headline"):
        render("comparison.html.j2", **{key: value for key, value in VALUES.items() if key != "headline"})
