"""Which indices are as good as those that a module chose."""

import numpy as np
import torch

from tasks.core.forward.choices import NotedChoices
from tasks.core.reference.choices import Choice, choices_of

VALUES = np.array([[5.0, 5.0, 4.0, 5.0]])


def _choice(indices: list[int], margin: float = 0.0) -> Choice:
    return Choice(VALUES, np.array([indices]), 1, np.full(VALUES.shape, margin))


def test_equal_values_are_as_good_and_no_others() -> None:
    """Nor is what lies outside, or one index twice."""
    choice = _choice([0, 1])
    assert choice.as_good(np.array([[3, 0]])).tolist() == [[True, True]]
    assert choice.as_good(np.array([[3, 2]])).tolist() == [[True, False]]
    assert choice.as_good(np.array([[0, 4]])).tolist() == [[True, False]]
    assert not choice.as_good(np.array([[3, 3]])).any()
    assert choice.as_good(np.array([1, 2, 3])) is None
    assert _choice([0, 1], margin=2.0).as_good(np.array([[2, 1]])).all()


def test_a_reduced_axis_and_all_elements() -> None:
    """As argmax gives them, with a dim or without."""
    along = Choice(VALUES, np.array([0]), 1, np.zeros(VALUES.shape))
    assert along.as_good(np.array([3])).tolist() == [True]
    assert along.as_good(np.array([2])).tolist() == [False]
    everywhere = Choice(VALUES, np.array(0), -1, np.zeros(VALUES.shape))
    assert everywhere.as_good(np.array(3)).tolist() is True
    assert everywhere.as_good(np.array(2)).tolist() is False


def test_the_margin_of_a_value_is_the_noise_of_its_magnitude() -> None:
    """That of a mask is none of the logits'."""
    exact = torch.tensor([[1.0, 2.0, -1e9, -1e9]], dtype=torch.float64)
    noted, in_float64 = NotedChoices(), NotedChoices()
    for recorder, values in ((noted, (exact + torch.tensor([1e-7, -1e-7, 64, -64])).float()), (in_float64, exact)):
        with recorder:
            values.argmax(1)
    (choice,) = choices_of(noted, in_float64)
    assert choice.margins[0, 0] < 1e-5 < 100 < choice.margins[0, 3]
    (alone,) = choices_of(noted, NotedChoices())
    assert not alone.margins.any()
