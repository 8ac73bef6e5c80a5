"""A file's values are found among those of the module, and only where they are equal but for noise."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from tasks.core.inputs.choice import choose_inputs
from tasks.core.limits import MATCHING_LIMIT
from tasks.core.reference.reference import Reference
from tasks.core.reference.traced_values import TracedValues, finite
from tasks.core.spec.export_spec import ExportSpec
from tasks.core.spec.resolve import resolve


class Chain(nn.Module):
    """A layer, its activation, a view of that, and another layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(8, 16), nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """From x [batch, 8]."""
        return self.last(torch.tanh(self.first(x)).view(-1, 16))


@pytest.fixture(scope="module")
def chain() -> tuple[Chain, TracedValues, torch.Tensor]:
    """The module, its values on the first probe, and the input."""
    model = Chain().eval()
    inputs = choose_inputs(resolve(ExportSpec(model=model, inputs=("x=float32[batch,8]",))), model)
    return model, Reference(model, inputs).traced(inputs.probes[0]), torch.tensor(inputs.arrays(inputs.probes[0])["x"])


def test_a_value_is_found_whatever_its_shape(chain: tuple[Chain, TracedValues, torch.Tensor]) -> None:
    """By its elements; the activation and its view are the same ones."""
    model, traced, x = chain
    hidden = torch.tanh(model.first(x)).detach().numpy()
    found = traced.find(hidden.reshape(4, -1), limit=MATCHING_LIMIT)
    assert [traced.trace.call_of(number).name for number in found] == ["aten.tanh.default", "aten.view.default"]  # type: ignore[union-attr]
    assert traced.first_of[found[0]] == traced.first_of[found[1]]
    assert traced.is_view(found[1])
    assert not traced.is_view(found[0])


@pytest.mark.parametrize("change", [lambda a: a * 1.001, lambda a: a[:, :8], lambda a: a[:, ::-1], lambda a: a * 0])
def test_another_value_is_not_found(change: object, chain: tuple[Chain, TracedValues, torch.Tensor]) -> None:
    """Off by a thousandth, a part, another order, or zeros."""
    model, traced, x = chain
    hidden = torch.tanh(model.first(x)).detach().numpy()
    assert traced.find(change(hidden), limit=MATCHING_LIMIT) == []  # type: ignore[operator]


def test_values_know_what_they_are_computed_from(chain: tuple[Chain, TracedValues, torch.Tensor]) -> None:
    """The nearest first, as far back as is asked for."""
    _, traced, _ = chain
    (output,) = traced.trace.outputs
    near, far = (
        [
            call.name
            for number in traced.ancestors(output, depth=depth)
            if (call := traced.trace.call_of(number)) is not None
        ]
        for depth in (1, 2)
    )
    assert "aten.view.default" in near
    assert "aten.tanh.default" not in near
    assert far[len(near) :] == ["aten.tanh.default"]


def test_a_difference_is_a_multiple_of_the_noise(chain: tuple[Chain, TracedValues, torch.Tensor]) -> None:
    """Infinite for another size."""
    _, traced, _ = chain
    (output,) = traced.trace.outputs
    value = traced.whole(output)
    assert traced.ratio(value, output) == 0.0
    assert traced.ratio(value + np.float32(1e-2), output) > 1000
    assert traced.ratio(value[:1], output) == math.inf


def test_masked_elements_have_numbers() -> None:
    """Infinity and NaN would equal nothing."""
    assert finite(np.array([1.0, np.inf, -np.inf, np.nan])).tolist() == [1.0, 1.0, -1.0, 2.0]
    integers = np.arange(3)
    assert finite(integers) is integers
