"""A module that does not repeat its answers is told why."""

import numpy as np
import pytest
import torch
from torch import nn

from tasks.core.inputs.choice import choose_inputs
from tasks.core.reference.reference import Reference
from tasks.core.reference.repeatability import first_difference, why_unrepeatable
from tasks.core.spec.export_spec import ExportSpec
from tasks.core.spec.resolve import resolve


class Noisy(nn.Module):
    """Adds noise in a submodule."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """From x [batch, 4]."""
        return self.dropout(x)


class Counting(nn.Module):
    """Keeps state that is neither a parameter nor a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """From x [batch, 4]."""
        self.seen.append(len(x))
        return x + len(self.seen)


@pytest.mark.parametrize(
    ("before", "after", "index"),
    [
        ([[1.0], [2.0]], [[1.0], [2.0]], -1),
        ([[1.0], [2.0]], [[1.0], [2.5]], 1),
        ([[1.0], [2.0]], [[1.0, 1.0], [2.0]], 0),
        ([[np.nan]], [[np.nan]], -1),
    ],
)
def test_the_first_output_that_differs_is_named(
    before: list[list[float]], after: list[list[float]], index: int
) -> None:
    """In value or in shape; NaN equals NaN here, as it repeats."""
    assert first_difference([np.array(a) for a in before], [np.array(a) for a in after]) == index


def test_random_operators_are_named_with_their_module() -> None:
    """So that a user finds the line."""
    model = Noisy().train()
    why = why_unrepeatable(model, lambda: model(torch.ones(2, 4)), lambda: model(torch.zeros(2, 4)))
    assert why.startswith("the module draws random numbers (aten.")
    assert "in dropout)" in why


@pytest.mark.parametrize(("names", "called"), [((), "output"), (("scores",), "scores")])
def test_state_is_named_and_found_once(names: tuple[str, ...], called: str) -> None:
    """An attribute that each call changes; the sentence names the output as the file does, if it has a name there."""
    model = Counting().eval()
    reference = Reference(model, choose_inputs(resolve(ExportSpec(model=model, inputs=("x=float32[batch,4]",))), model))
    said = reference.unrepeatable(names)
    assert said.startswith(
        f"{called} differs when the same input comes again after another: the module keeps state in seen"
    )
    num_calls = len(model.seen)
    assert reference.unrepeatable(names) == said
    assert len(model.seen) == num_calls
