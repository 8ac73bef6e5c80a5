"""Limits that follow from others follow them."""

from tasks.core import limits


def test_limits_are_in_order() -> None:
    """What calls for a closer look lies below what fails, and that below what no luck could explain."""
    assert 1 < limits.CLOSER_LOOK < limits.NOISE_LIMIT < limits.SLICE_LIMIT < limits.BEYOND_LUCK
    assert limits.NOISE_LIMIT == limits.EDGE == limits.MATCHING_LIMIT / 3
    assert sorted(limits.SEARCH_LIMITS, reverse=True) == [*limits.SEARCH_LIMITS]
    assert limits.SEARCH_LIMITS[0] == limits.MATCHING_LIMIT < limits.OWN_LIMIT
