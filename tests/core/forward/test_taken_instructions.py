"""Instructions that a call runs: two sides of a branch differ, two equal calls do not."""

import sys
from types import CodeType
from typing import Any

import torch
from torch import nn

from tasks.core.forward.taken_instructions import Instructions, instructions_of, numbers_of


class Branch(nn.Module):
    """Branches within one line, and has numbers of three kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.limit = 77
        self.positions = nn.Embedding(19, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Twice the input, or more."""
        return x * 3 if len(x) > 5 else x * 2


def _run(model: nn.Module, size: int) -> Instructions:
    return instructions_of(model, lambda: model(torch.zeros(size)))


def test_two_sides_of_a_branch_differ() -> None:
    """Even within a line; the same side gives the same instructions."""
    model = Branch()
    few, more, many = (_run(model, size) for size in (2, 3, 6))
    assert few == more != many
    assert not any("torch/nn" in code.co_filename for code, _ in few if isinstance(code, CodeType))
    assert (model, 0) in few


def test_a_second_round_differs_from_one() -> None:
    """Of a loop, and of a module that is called by a function of Python's own; a third does not."""
    inner = nn.Identity()

    class Rounds(nn.Module):
        def __init__(self, *, by_python: bool) -> None:
            super().__init__()
            self.inner, self.by_python = inner, by_python

        def forward(self, x: torch.Tensor) -> Any:
            if self.by_python:
                return [*map(self.inner, x.unbind())]
            for row in x.unbind():
                x = row + x
            return x

    for model in (Rounds(by_python=True), Rounds(by_python=False)):
        one, two, three = (_run(model, size) for size in (1, 2, 3))
        assert one < two == three


def test_whoever_traced_before_does_so_afterwards() -> None:
    """A debugger, or the measurement of coverage."""
    before = sys.gettrace()
    instructions_of(nn.Identity(), lambda: None)
    assert sys.gettrace() is before


def test_numbers_are_those_of_code_attributes_and_tensors() -> None:
    """What a size may be compared with."""
    model = Branch()
    assert {5, 77, 19, 4} <= numbers_of(model, _run(model, 2))
