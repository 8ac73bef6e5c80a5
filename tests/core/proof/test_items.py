"""Items find their partners by class and place, whatever their order."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.proof.items import iou, partners_of
from tasks.core.reference.structure import Group
from tests.core.proof.detected import FAR, GROUP, Item, answer, nearly

_BOXES = st.tuples(*[st.integers(0, 100)] * 2, *[st.integers(1, 50)] * 2)
_ITEMS = st.lists(st.tuples(_BOXES, st.integers(1, 99), st.integers(0, 2)), max_size=12)


@given(_ITEMS, st.randoms(use_true_random=False))
def test_items_match_in_any_order(items: list[Any], random: Any) -> None:
    """Whatever the order, each item's partner has its box, its score and its class, and is nobody else's."""
    found = [((x, y, x + width, y + height), score / 100, label) for (x, y, width, height), score, label in items]
    order = list(range(len(found)))
    random.shuffle(order)
    base, other = answer(*found), answer(*(found[index] for index in order))
    partners = partners_of(GROUP, base, other)
    assert sorted(partners) == list(range(len(found)))
    for one, another in zip(base, other, strict=True):
        assert np.array_equal(one, another[partners])


@pytest.mark.parametrize(
    ("other", "partner"),
    [
        (((0, 0, 10, 10), 0.9, 1), -1),
        (((0, 0, 10, 4.9), 0.9, 0), -1),
        (((0, 0, 10, 5.1), 0.9, 0), 0),
        (((0, 0, 10, 10), 0.2, 0), 0),
    ],
    ids=["class", "overlap of 0.49", "overlap of 0.51", "score"],
)
def test_partners_are_of_one_class_and_place(other: Item, partner: int) -> None:
    """Another class or an overlap below a half is another item; another score is for the noise ratio to judge."""
    assert partners_of(GROUP, answer(FAR[0]), answer(other)).tolist() == [partner]


def test_coinciding_boxes_are_told_apart_by_their_scores() -> None:
    """Of two boxes in the same place each gets the one with its own score."""
    box = (0.0, 0.0, 10.0, 10.0)
    base, other = answer((box, 0.9, 0), (box, 0.3, 0)), answer((box, 0.31, 0), (box, 0.89, 0))
    assert partners_of(GROUP, base, other).tolist() == [1, 0]


def test_boxes_without_an_area_find_their_partners() -> None:
    """A line or a point is matched by its place, though no two runs put it at exactly the same one."""
    items: list[Item] = [((10, 10, 10, 40), 0.9, 0), ((60, 20, 60, 20), 0.8, 0), ((80, 50, 99, 50), 0.7, 0)]
    base = answer(*items)
    other = [array[::-1] for array in nearly(base, seed=0)]
    assert partners_of(GROUP, base, other).tolist() == [2, 1, 0]


def test_nothing_on_both_sides_agrees() -> None:
    """No items, no partners, nothing to complain about."""
    assert partners_of(GROUP, answer(), answer()).tolist() == []
    assert GROUP.length(answer()) == 0


def test_items_without_boxes_match_by_number() -> None:
    """A list of kept indices has nothing to match by but its order, and none where the lengths differ."""
    group = Group(outputs=(0,))
    assert partners_of(group, [np.arange(3)], [np.arange(3) + 1]).tolist() == [0, 1, 2]
    assert partners_of(group, [np.arange(3)], [np.arange(2)]).tolist() == [-1, -1, -1]


def test_boxes_may_be_given_by_their_sides() -> None:
    """Where the last two numbers can't be a corner they are width and height."""
    first, second = np.array([[50, 50, 10, 10]], np.float32), np.array([[55, 50, 10, 10]], np.float32)
    assert iou(first, second) == pytest.approx(1 / 3)
    corners = np.array([[0, 0, 10, 10]], np.float32), np.array([[5, 0, 15, 10]], np.float32)
    assert iou(*corners) == pytest.approx(1 / 3)


def test_both_sides_read_their_boxes_alike() -> None:
    """A list of which each box could be two corners is read as the other list, of which one box could not."""
    both = answer(((5, 5, 10, 10), 0.9, 0), ((50, 50, 10, 10), 0.8, 0))
    assert partners_of(GROUP, both, [array[:1] for array in both]).tolist() == [0, -1]
