"""What tells whether the probes could have seen a difference: movement, zeros, noise."""

import math

import numpy as np
import pytest

from tasks.core.arrays import EPS32, Array
from tasks.core.inputs.probes import Probe
from tasks.core.proof.observations import ItemCount, Observed
from tasks.core.proof.parity import OutputRuns
from tasks.core.proof.power import next_rows, note_movement
from tasks.core.reference.structure import Group

PROBE = Probe(family="normal", seed=1, sizes={"batch": 2})
VALUES = np.random.default_rng(0).standard_normal((4, 8))


def _observed(torch32: Array, float64: Array) -> Observed:
    output = Observed("scores")
    output.observe(OutputRuns([], torch32, [], float64), PROBE)
    return output


def _movement(output: Observed, first: Array, second: Array, *, noise: Array | float = 0.0) -> float:
    own = [first + noise], [second + noise]
    note_movement([output], [], family="normal", pair=([first], [second]), torch32=own)
    return output.movements["normal"]


def test_movement_is_a_multiple_of_the_noise() -> None:
    """An output that changes by a thousand times the error of torch32 has moved a thousand times."""
    assert _movement(Observed("scores"), VALUES, VALUES + 1e-2, noise=1e-5) == pytest.approx(1000, rel=0.05)


@pytest.mark.parametrize(("batch_axis", "moved"), [(0, math.inf), (None, 0.0)])
def test_integers_move_where_rows_of_a_probe_differ(batch_axis: int | None, moved: float) -> None:
    """The same class for two pairs of inputs may be luck; what has no batch says nothing by that."""
    output, rows, other = Observed("classes"), np.array([1, 1]), np.array([1, 1, 2, 1, 1])
    output.observe(OutputRuns([], other, [], other, batch_axis=batch_axis), PROBE)
    assert _movement(output, rows, rows) == moved


def test_where_torch32_is_exact_one_rounding_is_the_noise() -> None:
    """A floor of zero would make any change infinitely large."""
    ones = np.ones((4, 8), np.float32)
    output = _observed(ones, ones.astype(np.float64))
    assert _movement(output, ones, ones * (1 + 50 * EPS32)) == pytest.approx(50, rel=0.01)


def test_what_never_changes_has_no_say_in_the_movement() -> None:
    """One rounding of -1e9 is more than any logit; logits beside it move all the same, and dead ones do not."""
    masked = np.where(np.arange(8) % 2, -1e9, VALUES)
    noise = np.where(np.arange(8) % 2, 32.0, 1e-6)
    assert _movement(Observed("logits"), masked, masked * (1 + 1e-9) + 1e-2, noise=noise) > 1000
    assert _movement(Observed("logits"), masked, masked * (1 + 3 * EPS32), noise=noise) < 10


def test_rare_luck_is_no_noise_of_the_movement() -> None:
    """Where one in a hundred elements is another one by a rounding, the others tell how much is noise."""
    values = np.random.default_rng(0).standard_normal(1000)
    noise = np.where(np.arange(1000) % 100 == 0, 1.0, 1e-7)
    assert _movement(Observed("image"), values, -values, noise=noise) > 1e5
    assert _movement(Observed("image"), values, values + 1e-6, noise=noise) < 100


def test_an_output_that_stays_does_not_move() -> None:
    """Equal answers, be they floats or integers, are no movement; another number of items is."""
    assert _movement(_observed(VALUES.astype(np.float32), VALUES), VALUES, VALUES) == 0.0
    labels = np.arange(4)
    assert _movement(_observed(labels, labels), labels, labels) == 0.0
    assert _movement(_observed(labels, labels), labels, labels[::-1]) == math.inf
    assert _movement(_observed(labels, labels), labels, labels[:2]) == math.inf


def test_the_share_that_stays_at_an_extreme_is_noted() -> None:
    """Elements that are the largest or smallest value for both inputs are saturated; others may stay."""
    output = Observed("scores")
    first, second = np.array([0.0, 1.0, 1.0, 0.3]), np.array([0.0, 1.0, 1.0, 0.4])
    _movement(output, first, second)
    assert output.still_share == 0.75


def test_classes_of_items_move_with_their_boxes() -> None:
    """A detector of one class gives it always, but not for the same items."""
    outputs = [Observed("boxes"), Observed("labels")]
    boxes, labels = VALUES[:, :4], np.ones(4, np.int64)
    group = Group(outputs=(0, 1), boxes=0, labels=1)
    note_movement(
        outputs,
        [group],
        family="normal",
        pair=([boxes, labels], [boxes + 1, labels]),
        torch32=([boxes, labels], [boxes + 1, labels]),
    )
    assert outputs[1].movements == outputs[0].movements


def test_zeros_are_counted_but_for_classes_of_items() -> None:
    """Class 0 is a class."""
    labels = np.zeros(4, np.int64)
    assert _observed(labels, labels).num_zeros == 4
    items = Observed("labels", items={"normal": ItemCount()})
    items.observe(OutputRuns([], labels, [], labels), PROBE)
    assert (items.num_zeros, items.num_elements) == (0, 4)


def test_one_element_that_is_not_finite_is_noted() -> None:
    """The module's own NaN or infinity."""
    assert not _observed(VALUES.astype(np.float32), VALUES).not_finite
    noted = _observed(np.array([1.0, np.inf], np.float32), np.array([1.0, 1e40])).not_finite
    assert noted == {"normal": "1 of 2 elements at batch=2 (normal inputs)"}


def test_rows_of_a_sample_stand_for_another_input() -> None:
    """Each row is compared with the one before; an output without rows with itself."""
    rolled, scalar = next_rows([np.arange(3), np.array(5.0)])
    assert rolled.tolist() == [2, 0, 1]
    assert scalar == 5.0
