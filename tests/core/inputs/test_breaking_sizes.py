"""Sizes that break a condition: found for relations of one and two sizes, nearest first, within the bounds."""

import pytest
import sympy
from torch.utils._sympy.functions import FloorDiv

from tasks.core.forward.conditions import Condition
from tasks.core.inputs.breaking_sizes import breaking_cases

H, W = sympy.symbols("h w", integer=True, positive=True)


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        (H > 100, {"h": 101, "w": 32}),
        (H < 10, {"h": 9, "w": 32}),
        (H > W, {"h": 33, "w": 32}),
        (sympy.Eq(H, W), {"h": 32, "w": 32}),
        (H * W > 5000, {"h": 157, "w": 32}),
        (sympy.Eq(2 * H + W, 1024), {"h": 496, "w": 32}),
        (sympy.Eq(H * H, 10609), {"h": 103, "w": 32}),
        (sympy.Eq(FloorDiv(H, 2), 500), {"h": 1000, "w": 32}),
        (sympy.Eq(sympy.Mod(H, 32), 0), {"h": 32, "w": 32}),
        (H > 10**7, {"h": 10**7 + 1, "w": 32}),
        (sympy.And(H > 40, W > 40), {"h": 41, "w": 41}),
    ],
)
def test_a_condition_is_broken_by_the_nearest_sizes(expression: sympy.Basic, wanted: dict[str, int]) -> None:
    """Between 16 and 32 none of them holds; a case at which it does is among those found."""
    found = breaking_cases(Condition(expression, False, "net.py:1"), {"h": 16, "w": 32}, lambda *_: True)
    assert wanted in found
    assert all(Condition(expression, False, "").is_broken_at(case) for case in found)


def test_bounds_are_kept() -> None:
    """No case leaves them; where none is left there is none."""
    condition = Condition(H > 100, False, "net.py:1")
    assert all(case["h"] <= 120 for case in breaking_cases(condition, {"h": 16}, lambda _, size: size <= 120))
    assert breaking_cases(condition, {"h": 16}, lambda _, size: size <= 100) == []


def test_what_always_holds_is_not_broken() -> None:
    """No size is 0."""
    condition = Condition(sympy.Eq(H * W, 0, evaluate=False), False, "net.py:1")
    assert breaking_cases(condition, {"h": 16, "w": 32}, lambda _, size: size > 0) == []


def test_conditions_before_it_are_kept_where_they_can_be() -> None:
    """On the way to `if h > 100` inside `if h < w`, the other size grows, too."""
    condition, before = Condition(H > 100, False, ""), Condition(H < W, True, "")
    assert {"h": 101, "w": 102} in breaking_cases(condition, {"h": 16, "w": 32}, lambda *_: True, keeping=(before,))
