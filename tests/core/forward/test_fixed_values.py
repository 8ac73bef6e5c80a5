"""What a module computes from its weights alone is noted, and can be exchanged."""

import numpy as np
import torch
from torch import nn

from tasks.core.forward.fixed_values import FixedValues, run_for_fixed
from tasks.core.forward.precision import run_float32
from tasks.core.forward.substitutes import Substitute


class Choosing(nn.Module):
    """Takes one of two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down, self.unused = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Choose by the sum."""
        self.unused(x)
        return torch.cond(x.sum() > 0, self.up, self.down, (x,))  # type: ignore[no-any-return]


class Scaled(nn.Module):
    """A weight that is computed before it meets the input."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.layer = nn.Parameter(torch.tensor([1.0, 2.0, 3.0])), nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores."""
        return self.layer(x * self.scale.exp())  # type: ignore[no-any-return]


def test_weights_inside_control_flow_are_used() -> None:
    """Those of the side that was taken; of both sides after a run that takes the other."""
    model = Choosing()
    fixed, x = FixedValues(model), torch.ones(2, 4)
    run_for_fixed(model, (x,), {}, fixed=fixed)
    assert fixed.weights == {"up.weight", "up.bias"}
    run_for_fixed(model, (-x,), {}, fixed=fixed)
    assert fixed.weights == {"up.weight", "up.bias", "down.weight", "down.bias"}


def test_a_weight_or_what_is_computed_of_it_is_exchanged_in_one_run() -> None:
    """The answer is that of the other value, and the module keeps its own."""
    model, x = Scaled(), torch.randn(5, 3)
    fixed = FixedValues(model)
    before = run_for_fixed(model, (x,), {}, fixed=fixed)
    (number,) = [n for n, value in enumerate(fixed.values) if value.parts and "scale" in value.weights]
    change = np.array([0.5, 0.0, -1.0])
    with torch.no_grad():
        by_number = model.layer(x * (model.scale.exp() + torch.tensor(change, dtype=torch.float32)))
        by_name = model.layer(x * (model.scale + torch.tensor(change, dtype=torch.float32)).exp())
    for place, wanted in ((number, by_number), ("scale", by_name)):
        found = run_for_fixed(model, (x,), {}, fixed=Substitute(model, place=place, change=change))
        torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(run_float32(model, (x,), {}), before, rtol=0, atol=0)
