"""A run with symbols for sizes: what code decides about them is noted with its line, what operators decide is not."""

from typing import Any

import pytest
import sympy
import torch
from torch import nn
from torch.utils._sympy.functions import FloorDiv

from tasks.core.forward import size_conditions
from tasks.core.forward.conditions import Condition, Way
from tasks.core.forward.size_conditions import way_at


def way(forward: Any, *, length: int = 16, model: nn.Module | None = None) -> Way:
    """The way of a function of a module and its input x, float32[batch=2,length,8]."""
    network = model or nn.Linear(8, 8)
    network.forward = lambda x: forward(network, x)  # type: ignore[method-assign]
    return way_at(
        network,
        lambda symbols: ((torch.empty(symbols["batch"], symbols["length"], 8),), {}),
        {"batch": 2, "length": length},
    )


def test_a_branch_of_code_is_noted_with_its_side_and_line() -> None:
    """`if` on a size, on a size behind an operator, and an assertion; each with the side that was taken."""

    def forward(network: nn.Module, x: torch.Tensor) -> torch.Tensor:
        assert x.shape[1] <= 512
        y = nn.functional.avg_pool1d(x, 2).transpose(1, 2) if x.shape[1] > 64 else x[:, ::2]
        return y * 2 if y.shape[1] == x.shape[0] else y

    found = way(forward)
    assert found.blind == ""
    assert [condition.names for condition in found.conditions] == [("length",), ("length",), ("batch", "length")]
    bound, branch, equal = found.conditions
    assert "test_size_conditions.py:" in bound.line
    assert bound.is_broken_at({"length": 513})
    assert not bound.is_broken_at({"length": 512})
    assert branch.is_broken_at({"length": 65})
    assert not branch.is_broken_at({"length": 64})
    assert equal.is_broken_at({"batch": 8, "length": 16})
    assert not equal.is_broken_at({"batch": 8, "length": 17})
    assert way(forward, length=65).conditions[1].is_broken_at({"length": 64})


@pytest.mark.parametrize("layer", [
    nn.Conv1d(16, 4, 3), nn.LSTM(8, 8, batch_first=True), nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
    nn.Sequential(nn.Flatten(0, 1), nn.BatchNorm1d(8), nn.Dropout()),
])  # fmt: skip
def test_what_operators_decide_is_not_noted(layer: nn.Module) -> None:
    """PyTorch's layers have no branch on sizes that a file could lose."""
    found = way(lambda network, x: network.layer(x if not isinstance(network.layer, nn.Conv1d) else x[:, :16]),
                model=nn.ModuleDict({"layer": layer.eval()}), length=32)  # fmt: skip
    assert (found.conditions, found.blind) == ((), "")


@pytest.mark.parametrize("kind", [nn.GRU, nn.RNN])
def test_recurrent_layers_have_their_shapes(kind: type[nn.GRU]) -> None:
    """They are not followed step by step, and what comes after them is known."""
    layer = kind(8, 5, num_layers=2, bidirectional=True, batch_first=True).eval()

    def forward(_: nn.Module, x: torch.Tensor) -> torch.Tensor:
        y, state = layer(x)
        return torch.cat([y, x], -1).sum() + state.sum() if y.shape == (x.shape[0], x.shape[1], 10) else x

    found = way(forward, length=50)
    assert found.blind == ""
    assert found.conditions == ()


def test_a_number_of_results_is_a_condition() -> None:
    """A split keeps as many parts as there were; of two parts of a fixed size nothing depends on sizes."""
    parts = way(lambda _, x: torch.cat(x.split(50, 1), 1)).conditions
    assert [condition.is_broken_at({"length": size}) for condition in parts for size in (50, 51)] == [False, True]
    assert way(lambda _, x: torch.cat(x.chunk(2, -1), 1)).conditions == ()


def test_a_condition_that_divides_by_zero_is_not_broken() -> None:
    """A GRU's number of parts, at sizes that it can't have."""
    length = sympy.Symbol("length", integer=True, positive=True)
    condition = Condition(sympy.Eq(FloorDiv(length, FloorDiv(length, 4)), 4), True, "net.py:1")
    assert not condition.is_broken_at({"length": 2})
    assert condition.is_broken_at({"length": 7})
    assert condition.edges("length", {"length": 16}) == set()


def test_the_end_of_a_table_is_a_limit() -> None:
    """A slice asks whether it ends before the table does."""
    limits = way(lambda _, x: x + torch.zeros(96, 8)[: x.shape[1]]).limits
    assert 96 in {edge for limit in limits for edge in limit.edges("length", {"length": 16, "batch": 2})}


def test_where_code_needs_values_or_numbers_further_conditions_may_be_unknown() -> None:
    """The reason is told; what was decided before is known."""
    found = way(lambda _, x: x if x.shape[1] > 9 and x.max() > 0 else -x)
    assert len(found.conditions) == 1
    assert found.blind
    assert "makes a number of a size" in way(lambda _, x: x * int(x.shape[1])).blind


def test_sizes_that_nest_too_deep_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Symbols may cost more than an export."""
    monkeypatch.setattr(size_conditions, "MAX_SYMBOLIC_SECONDS", 0.0)
    assert "still being followed" in way(lambda network, x: x * 2 if x.shape[1] > 4 else x).blind


def test_the_module_is_left_as_it_was() -> None:
    """Caches that forward fills, on the module or inside a dict of it, hold no tensor without values afterwards."""
    network = nn.Linear(8, 8)
    network.cache, network.table = {}, None  # type: ignore[assignment]

    def forward(network: Any, x: torch.Tensor) -> torch.Tensor:
        network.cache["x"] = network.table = x
        return x

    way(forward, model=network)
    assert network.cache == {}
    assert network.table is None
