"""Choices among values are noted, and fall otherwise where the values are equal but for their noise."""

from typing import Any

import numpy as np
import pytest
import torch

from tasks.core.forward.choices import NotedChoices, OtherChoices

TIES = torch.tensor([[3, 1, 3, 3, 2, 1]])
OPERATORS: dict[str, Any] = {
    "topk": lambda x: torch.topk(x, 2, dim=1),
    "sort": lambda x: torch.sort(x, dim=1),
    "max": lambda x: torch.max(x, 1),
    "min": lambda x: torch.min(x, 1, keepdim=True),
    "kthvalue": lambda x: torch.kthvalue(x, 5, 1),
    "cummax": lambda x: torch.cummax(x, 1),
}


def _answers(operator: Any, x: torch.Tensor, margin: float) -> list[Any]:
    answers = []
    for seed in range(6):
        with OtherChoices([np.full(x.shape, margin)], seed):
            answers.append(operator(x))
    return answers


@pytest.mark.parametrize(
    "x", [TIES, TIES.float(), TIES.to(torch.uint8), TIES * 0.0], ids=["int", "float", "uint8", "zeros"]
)
@pytest.mark.parametrize("name", OPERATORS)
def test_of_equal_values_another_is_chosen(name: str, x: torch.Tensor) -> None:
    """The values stay what they are, the indices do not."""
    values, indices = OPERATORS[name](x)
    answers = _answers(OPERATORS[name], x, 0.0)
    assert all(torch.equal(answer[0], values) and answer[0].dtype == x.dtype for answer in answers)
    assert any(not torch.equal(answer[1], indices) for answer in answers)


def test_values_within_the_margin_change_places_and_others_do_not() -> None:
    """Of two that are equal but for noise each is chosen in one of two opposite runs."""
    x = torch.tensor([1.0, 1.0 + 1e-6, 0.5])
    assert {int(answer) for answer in _answers(torch.argmax, x, 1e-5)} == {0, 1}
    assert {int(answer) for answer in _answers(torch.argmax, x, 0.0)} == {1}


def test_what_was_chosen_from_is_noted() -> None:
    """Values, indices, and the axis; a maximum without an index is no choice."""
    x = torch.tensor([[1.0, 2.0], [4.0, 3.0]])
    with NotedChoices() as noted:
        x.topk(1, dim=-1)
        x.argmax()
        x.amax(1)
        x.max()
    (values, indices, axis), (_, place, everywhere) = noted.seen
    assert torch.equal(values, x)
    assert indices.tolist() == [[1], [0]]
    assert (axis, int(place), everywhere) == (1, 2, -1)
