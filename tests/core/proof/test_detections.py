"""Outputs sized by data: items find their partners by class and place, and what lies on an edge is excused."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tasks.core.arrays import Array
from tasks.core.forward.thresholds import Thresholds
from tasks.core.inputs.choice import choose_inputs
from tasks.core.proof.detections import align, is_luck
from tasks.core.proof.items import iou, partners_of
from tasks.core.proof.observations import ItemCount
from tasks.core.proof.runs import Runs
from tasks.core.reference.groups import Group, length
from tasks.core.reference.reference import Reference
from tasks.core.spec.export_spec import ExportSpec
from tasks.core.spec.resolve import resolve
from tests.models.tiny_detectors import Detector
from tests.models.tiny_models import Classifier

GROUP = Group(outputs=(0, 1, 2), boxes=0, scores=1, labels=2)
Item = tuple[tuple[float, float, float, float], float, int]
"""Box, score and class."""
_BOXES = st.tuples(*[st.integers(0, 100)] * 2, *[st.integers(1, 50)] * 2)
_ITEMS = st.lists(st.tuples(_BOXES, st.integers(1, 99), st.integers(0, 2)), max_size=12)
FAR: tuple[Item, ...] = (((0, 0, 10, 10), 0.9, 0), ((50, 0, 70, 20), 0.8, 1), ((0, 60, 30, 90), 0.7, 0))
"""Three items that have nothing to do with each other."""


def _answer(*items: Item) -> list[Array]:
    boxes, scores, labels = zip(*items, strict=True) if items else ((), (), ())
    return [
        np.array(boxes, dtype=np.float32).reshape(-1, 4),
        np.array(scores, dtype=np.float32),
        np.array(labels, dtype=np.int64),
    ]


def _nearly(answer: list[Array], seed: int) -> list[Array]:
    """The answer of another run: off by a rounding or so, in float64."""
    noise = np.random.default_rng(seed)
    return [a * (1 + 1e-7 * noise.standard_normal(a.shape)) if a.dtype.kind == "f" else a for a in answer]


def _count(
    onnx: list[Array], torch32: list[Array], *, scores: tuple[float, ...] = (), overlaps: tuple[float, ...] = ()
) -> ItemCount:
    """What becomes of the items, where the module compares scores and overlaps with these thresholds."""
    thresholds = Thresholds()
    thresholds.scores.update(scores)
    thresholds.overlaps.update(overlaps)
    count = ItemCount()
    runs = [_nearly(torch32, seed) for seed in range(3)]
    align(GROUP, thresholds, Runs([onnx], torch32, runs[1:], runs[0]), count=count)
    return count


def _fate(count: ItemCount) -> tuple[int, int, int]:
    return count.num_matched, count.num_excused, count.num_unmatched


@given(_ITEMS, st.randoms(use_true_random=False))
def test_items_match_in_any_order(items: list[Any], random: Any) -> None:
    """Whatever the order, each item's partner has its box, its score and its class, and is nobody else's."""
    found = [((x, y, x + width, y + height), score / 100, label) for (x, y, width, height), score, label in items]
    order = list(range(len(found)))
    random.shuffle(order)
    base, other = _answer(*found), _answer(*(found[index] for index in order))
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
    assert partners_of(GROUP, _answer(FAR[0]), _answer(other)).tolist() == [partner]


def test_coinciding_boxes_are_told_apart_by_their_scores() -> None:
    """Of two boxes in the same place each gets the one with its own score."""
    box = (0.0, 0.0, 10.0, 10.0)
    base, other = _answer((box, 0.9, 0), (box, 0.3, 0)), _answer((box, 0.31, 0), (box, 0.89, 0))
    assert partners_of(GROUP, base, other).tolist() == [1, 0]


def test_boxes_without_an_area_find_their_partners() -> None:
    """A line or a point is matched by its place, though no two runs put it at exactly the same one."""
    items: list[Item] = [((10, 10, 10, 40), 0.9, 0), ((60, 20, 60, 20), 0.8, 0), ((80, 50, 99, 50), 0.7, 0)]
    base = _answer(*items)
    other = [array[::-1] for array in _nearly(base, seed=0)]
    assert partners_of(GROUP, base, other).tolist() == [2, 1, 0]


def test_nothing_on_both_sides_agrees() -> None:
    """No items, no partners, nothing to complain about."""
    assert partners_of(GROUP, _answer(), _answer()).tolist() == []
    assert length(GROUP, _answer()) == 0
    assert _fate(_count(_answer(), _answer())) == (0, 0, 0)


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
    both = _answer(((5, 5, 10, 10), 0.9, 0), ((50, 50, 10, 10), 0.8, 0))
    assert partners_of(GROUP, both, [array[:1] for array in both]).tolist() == [0, -1]


def test_a_lost_item_is_unmatched() -> None:
    """The file lacks an item that every run of the module has, and no threshold is near: it is described."""
    count = _count(_answer(*FAR[:2]), _answer(*FAR), scores=(0.5,))
    assert _fate(count) == (2, 0, 1)
    assert count.first_unmatched == "item 2, class 0, score 0.7, box [0.0, 60.0, 30.0, 90.0]: the file lacks it"


def test_an_item_too_many_is_unmatched() -> None:
    """The file has an item that no run of the module has."""
    count = _count(_answer(*FAR), _answer(*FAR[:2]), scores=(0.5,))
    assert _fate(count) == (2, 0, 1)
    assert count.first_unmatched.endswith("PyTorch lacks it")


def test_an_exchanged_class_is_unmatched_on_both_sides() -> None:
    """An item of another class is one that the file lacks and one that PyTorch lacks."""
    box, score, label = FAR[0]
    assert _fate(_count(_answer((box, score, label + 1), *FAR[1:]), _answer(*FAR))) == (2, 0, 2)


@pytest.mark.parametrize("is_lost", [True, False], ids=["lost", "extra"])
def test_an_item_on_the_edge_of_a_score_threshold_is_excused(is_lost: bool) -> None:
    """A score nearer to the threshold than the noise may fall on either side of it."""
    edge = ((80.0, 80.0, 99.0, 99.0), 0.5 + 1e-7, 1)
    sides = (_answer(*FAR), _answer(*FAR, edge))
    assert _fate(_count(*(sides if is_lost else sides[::-1]), scores=(0.5,))) == (3, 1, 0)
    assert _fate(_count(*(sides if is_lost else sides[::-1]), scores=(0.4,))) == (3, 0, 1)


def test_an_item_on_the_edge_of_suppression_is_excused() -> None:
    """So may one whose overlap with another is as large as suppression allows; other overlaps are no excuse."""
    neighbour = ((0.0, 0.0, 10.0, 4.0), 0.6, 0)  # overlaps with the first by 0.4
    sides = _answer(*FAR), _answer(*FAR, neighbour)
    assert _fate(_count(*sides, overlaps=(0.4,))) == (3, 1, 0)
    assert _fate(_count(*sides, overlaps=(0.6,))) == (3, 0, 1)


def test_another_last_item_is_excused_where_both_give_as_many() -> None:
    """Of the last that a detector may give, two with the same score may be exchanged; a better one may not."""
    last = ((80.0, 80.0, 99.0, 99.0), 0.7, 1)
    assert _fate(_count(_answer(*FAR[:2], last), _answer(*FAR))) == (2, 2, 0)
    better = ((80.0, 80.0, 99.0, 99.0), 0.85, 1)
    assert _fate(_count(_answer(FAR[0], better, FAR[2]), _answer(*FAR))) == (2, 0, 2)


BLANK = [((float(10 * i), 0.0, 10.0 * i + 9, 9.0), 1.0, 0) for i in range(20)]


@pytest.mark.parametrize(
    ("own", "file", "expected"),
    [
        (BLANK[:19], BLANK[1:], False),  # PyTorch's own runs differ by one item, which is at most 5 %
        (BLANK[:18], BLANK[2:], True),
        (BLANK[:18], BLANK[4:], True),
        (BLANK[:18], BLANK[5:], False),  # the file differs more than twice as much
        (BLANK, BLANK, False),
        (BLANK[:18], [((0.0, 50.0, 9.0, 59.0), 1.0, 0)] * 100, False),
    ],
)
def test_luck_is_what_pytorch_itself_disagrees_on(own: list[Item], file: list[Item], expected: bool) -> None:
    """Items are no evidence where two runs of the module differ, and the file from them no more than they do."""
    torch32 = _answer(*BLANK)
    assert is_luck(GROUP, Runs([_answer(*file)], torch32, [_answer(*own)], torch32)) is expected


@pytest.mark.parametrize(
    ("num_moved", "score", "may_be_luck", "num_excused"),
    [(1, 1.0, True, 1), (1, 1.0, False, 0), (1, 0.9, True, 0), (2, 1.0, True, 0)],
    ids=["equal score", "where scores differ", "another score", "too many"],
)
def test_a_few_items_may_be_others_of_the_same_score(
    num_moved: int, score: float, may_be_luck: bool, num_excused: int
) -> None:
    """Of two boxes of equal scores that suppress each other either may be left; a moved box without that is wrong."""
    moved = [((x, 2.0, right, 11.0), score, label) for (x, _, right, _), _, label in BLANK[:num_moved]]
    thresholds, torch32, count = Thresholds(), _answer(*BLANK), ItemCount()
    thresholds.overlaps.add(0.55)
    aligned = align(
        GROUP, thresholds,
        Runs([_answer(*moved, *BLANK[num_moved:])], torch32, [_nearly(torch32, 0)], _nearly(torch32, 1)),
        count=count, may_be_luck=may_be_luck,
    )  # fmt: skip
    assert _fate(count) == (20 - num_excused, num_excused, 0)
    assert len(aligned[0].torch32) == 20 - num_excused


def test_the_worst_level_counts() -> None:
    """Of several answers of the file the one with the most unmatched items is what counts, once."""
    count, torch32 = ItemCount(), _answer(*FAR)
    aligned = align(
        GROUP, Thresholds(), Runs([torch32, _answer(*FAR[1:])], torch32, [], _nearly(torch32, 0)), count=count
    )  # fmt: skip
    assert _fate(count) == (2, 0, 1)
    assert [len(answer) for answer in aligned[0].onnx] == [2, 2]
    assert np.array_equal(aligned[0].onnx[1], aligned[0].torch32)


def _thresholds(run: Callable[[torch.Tensor], Any]) -> Thresholds:
    thresholds = Thresholds()
    with thresholds:
        run(torch.tensor([0.2, 0.9, 0.7]))
    return thresholds


@pytest.mark.parametrize(
    ("run", "is_sized"),
    [
        (lambda x: x[x > 0.5], True),
        (lambda x: torch.where(x > 0.5)[0], True),
        (lambda x: x[torch.tensor([0, 2])], False),
        (lambda x: x.topk(2), False),
        (lambda x: torch.where(x > 0.5, x, 0.0), False),
    ],
    ids=["mask", "nonzero", "indices", "top two", "choice"],
)
def test_only_results_of_unknown_size_are_sized_by_data(run: Callable[[torch.Tensor], Any], is_sized: bool) -> None:
    """A mask decides how many there are, indices and choices do not."""
    assert _thresholds(run).sizes_by_data == is_sized


def test_thresholds_of_scores_and_suppression_are_noted() -> None:
    """Numbers that scores are compared with, and limits of overlap; integers are no scores."""
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [50, 50, 60, 60]])

    def run(scores: torch.Tensor) -> None:
        assert (scores > 0.25).any()
        assert (torch.arange(3) > 1).any()
        torchvision.ops.nms(boxes, scores, 0.45)

    thresholds = _thresholds(run)
    assert (thresholds.scores, thresholds.overlaps, thresholds.sizes_by_data) == ({0.25}, {0.45}, True)


def _reference(model: nn.Module, *inputs: str) -> Reference:
    return Reference(model.eval(), choose_inputs(resolve(ExportSpec(model=model, name="tiny", inputs=inputs)), model))


def test_the_outputs_of_a_detector_are_one_group() -> None:
    """Boxes, scores and classes are told by shape and dtype, and the detector's thresholds are known by then."""
    reference = _reference(Detector(), "image=float32[1,3,64,64]")
    assert reference.groups == (GROUP,)
    assert 0.5 in reference.thresholds.scores
    assert reference.thresholds.overlaps == {0.4}


def test_a_classifier_has_no_items() -> None:
    """Nothing of it is sized by data."""
    assert _reference(Classifier(), "image=float32[2,3,8,8]").groups == ()
