"""Outputs sized by data: what becomes of items without a partner, on an edge or not."""

from collections.abc import Iterator

import numpy as np
import pytest

from tasks.core.arrays import Array
from tasks.core.forward.outputs import Thresholds
from tasks.core.proof.detections import align, shaken_runs
from tasks.core.proof.items import is_luck
from tasks.core.proof.observations import ItemCount
from tasks.core.proof.parity import Runs
from tests.core.proof.detected import FAR, GROUP, Item, answer, nearly


def _count(
    onnx: list[Array], torch32: list[Array], *, scores: tuple[float, ...] = (), overlaps: tuple[float, ...] = ()
) -> ItemCount:
    """What becomes of the items, where the module compares scores and overlaps with these thresholds."""
    thresholds = Thresholds()
    thresholds.scores.update(scores)
    thresholds.overlaps.update(overlaps)
    count = ItemCount()
    runs = [nearly(torch32, seed) for seed in range(3)]
    align(GROUP, thresholds, Runs([onnx], torch32, runs[1:], runs[0]), count=count)
    return count


def _fate(count: ItemCount) -> tuple[int, int, int]:
    return count.num_matched, count.num_excused, count.num_unmatched


def test_nothing_on_both_sides_agrees() -> None:
    """No items, nothing to complain about."""
    assert _fate(_count(answer(), answer())) == (0, 0, 0)


def test_a_lost_item_is_unmatched() -> None:
    """The file lacks an item that every run of the module has, and no threshold is near: it is described."""
    count = _count(answer(*FAR[:2]), answer(*FAR), scores=(0.5,))
    assert _fate(count) == (2, 0, 1)
    assert count.first_unmatched == "item 2, class 0, score 0.7, box [0.0, 60.0, 30.0, 90.0]: the file lacks it"


def test_an_item_too_many_is_unmatched() -> None:
    """The file has an item that no run of the module has."""
    count = _count(answer(*FAR), answer(*FAR[:2]), scores=(0.5,))
    assert _fate(count) == (2, 0, 1)
    assert count.first_unmatched.endswith("PyTorch lacks it")


@pytest.mark.parametrize("is_lost", [True, False], ids=["lost", "extra"])
def test_an_item_that_comes_and_goes_in_runs_as_noisy_as_float32_is_excused(is_lost: bool) -> None:
    """No output says why: a proposal was the last of those that count. One that no such run agrees on is not."""
    sides = (answer(*FAR[:2]), answer(*FAR))
    onnx, torch32 = sides if is_lost else sides[::-1]
    runs = [nearly(torch32, seed) for seed in range(3)]

    def fate(*shaken: list[Array]) -> tuple[int, int, int]:
        count = ItemCount()
        align(GROUP, Thresholds(), Runs([onnx, onnx], torch32, runs[1:], runs[0]), count=count, shaken=iter(shaken))
        return _fate(count)

    assert fate(torch32, torch32, onnx) == (2, 1, 0)
    assert fate(torch32, torch32) == (2, 0, 1)
    assert fate() == (2, 0, 1)


def test_the_module_is_not_asked_again_where_many_items_are_wrong() -> None:
    """No noise takes away half of what a detector finds."""
    asked = []

    def shaken() -> Iterator[list[Array]]:
        asked.append(True)
        yield answer()

    many = [((20.0 * i, 0.0, 20.0 * i + 10, 10.0), 0.9, 0) for i in range(40)]
    runs = [nearly(answer(*many), seed) for seed in range(3)]
    count = ItemCount()
    align(
        GROUP, Thresholds(), Runs([answer(*many[:20])], answer(*many), runs[1:], runs[0]), count=count, shaken=shaken()
    )
    assert (_fate(count), asked) == ((20, 0, 20), [])


def test_shaken_runs_are_as_far_off_as_float32_itself() -> None:
    """From wherever they start, weights are moved until scores and boxes differ as much as torch32's from float64's."""
    torch32 = answer(*FAR)
    own, asked = 1e-3, list[float]()

    def moved(size: float, seed: int) -> list[Array]:
        noise = np.random.default_rng(seed).choice((-1.0, 1.0), size=3)
        boxes, scores, labels = torch32
        return [boxes + (size * noise)[:, None], scores + size * noise, labels]

    def run(seed: int, num_roundings: float) -> list[Array]:
        asked.append(num_roundings)
        return moved(num_roundings * 1e-5, seed)

    found = list(shaken_runs(GROUP, Runs([], torch32, [moved(1e-5, 0)], moved(own, 1)), run))
    assert len(found) == len(asked) == 16
    assert asked[-1] == pytest.approx(own / 1e-5, rel=0.01)
    asked.clear()
    list(shaken_runs(GROUP, Runs([], torch32, [moved(1e-5, 0)], moved(1e-7, 1)), run))
    assert set(asked) == {1.0}  # a luckily small error is no reason for less than one rounding


def test_an_exchanged_class_is_unmatched_on_both_sides() -> None:
    """An item of another class is one that the file lacks and one that PyTorch lacks."""
    box, score, label = FAR[0]
    assert _fate(_count(answer((box, score, label + 1), *FAR[1:]), answer(*FAR))) == (2, 0, 2)


@pytest.mark.parametrize("is_lost", [True, False], ids=["lost", "extra"])
def test_an_item_on_the_edge_of_a_score_threshold_is_excused(is_lost: bool) -> None:
    """A score nearer to the threshold than the noise may fall on either side of it."""
    edge = ((80.0, 80.0, 99.0, 99.0), 0.5 + 1e-7, 1)
    sides = (answer(*FAR), answer(*FAR, edge))
    assert _fate(_count(*(sides if is_lost else sides[::-1]), scores=(0.5,))) == (3, 1, 0)
    assert _fate(_count(*(sides if is_lost else sides[::-1]), scores=(0.4,))) == (3, 0, 1)


def test_an_item_on_the_edge_of_suppression_is_excused() -> None:
    """So may one whose overlap with another is as large as suppression allows; other overlaps are no excuse."""
    neighbour = ((0.0, 0.0, 10.0, 4.0), 0.6, 0)  # overlaps with the first by 0.4
    sides = answer(*FAR), answer(*FAR, neighbour)
    assert _fate(_count(*sides, overlaps=(0.4,))) == (3, 1, 0)
    assert _fate(_count(*sides, overlaps=(0.6,))) == (3, 0, 1)


def test_another_last_item_is_excused_where_both_give_as_many() -> None:
    """Of the last that a detector may give, two with the same score may be exchanged; a better one may not."""
    last = ((80.0, 80.0, 99.0, 99.0), 0.7, 1)
    assert _fate(_count(answer(*FAR[:2], last), answer(*FAR))) == (2, 2, 0)
    better = ((80.0, 80.0, 99.0, 99.0), 0.85, 1)
    assert _fate(_count(answer(FAR[0], better, FAR[2]), answer(*FAR))) == (2, 0, 2)


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
    torch32 = answer(*BLANK)
    assert is_luck(GROUP, Runs([answer(*file)], torch32, [answer(*own)], torch32)) is expected


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
    thresholds, torch32, count = Thresholds(), answer(*BLANK), ItemCount()
    thresholds.overlaps.add(0.55)
    aligned = align(
        GROUP, thresholds,
        Runs([answer(*moved, *BLANK[num_moved:])], torch32, [nearly(torch32, 0)], nearly(torch32, 1)),
        count=count, may_be_luck=may_be_luck,
    )  # fmt: skip
    assert _fate(count) == (20 - num_excused, num_excused, 0)
    assert len(aligned[0].torch32) == 20 - num_excused


def test_the_worst_level_counts() -> None:
    """Of several answers of the file the one with the most unmatched items is what counts, once."""
    count, torch32 = ItemCount(), answer(*FAR)
    aligned = align(
        GROUP, Thresholds(), Runs([torch32, answer(*FAR[1:])], torch32, [], nearly(torch32, 0)), count=count
    )  # fmt: skip
    assert _fate(count) == (2, 0, 1)
    assert [len(answer) for answer in aligned[0].onnx] == [2, 2]
    assert np.array_equal(aligned[0].onnx[1], aligned[0].torch32)
