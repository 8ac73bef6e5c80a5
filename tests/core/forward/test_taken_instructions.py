"""Instructions that a call runs: two sides of a branch differ, two equal calls do not."""

import sys

import torch
from torch import nn

from tasks.core.forward.taken_instructions import instructions_of, numbers_of


class Branch(nn.Module):
    """Branches within one line, and has numbers of three kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.limit = 77
        self.positions = nn.Embedding(19, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Twice the input, or more."""
        return x * 3 if len(x) > 5 else x * 2


def test_two_sides_of_a_branch_differ() -> None:
    """Even within a line; the same side gives the same instructions."""
    model = Branch()
    few, more, many = (instructions_of(lambda size=size: model(torch.zeros(size))) for size in (2, 3, 6))
    assert few == more != many
    assert not any("torch/nn" in code.co_filename for code, _ in few)


def test_whoever_traced_before_does_so_afterwards() -> None:
    """A debugger, or the measurement of coverage."""
    before = sys.gettrace()
    instructions_of(lambda: None)
    assert sys.gettrace() is before


def test_numbers_are_those_of_code_attributes_and_tensors() -> None:
    """What a size may be compared with."""
    model = Branch()
    assert {5, 77, 19, 4} <= numbers_of(model, instructions_of(lambda: model(torch.zeros(2))))
