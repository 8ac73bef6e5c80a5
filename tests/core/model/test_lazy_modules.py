"""Lazy modules get the parameters that their first call would give them, and nothing else of that call stays."""

import pytest
import torch
from torch import nn

from tasks.core.errors import ModelError
from tasks.core.model.lazy_modules import settle_lazy_modules


class Net(nn.Module):
    """Lazy layers, of which one keeps statistics, called in another order than they stand in."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.LazyLinear(2)
        self.first = nn.LazyConv1d(4, 3)
        self.norm = nn.LazyBatchNorm1d()
        self.num_calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """A row of two for each row."""
        self.num_calls += 1
        return self.last(self.norm(self.first(x)).flatten(1))  # type: ignore[no-any-return]


def example(_: nn.Module) -> tuple[tuple[torch.Tensor, ...], dict[str, torch.Tensor]]:
    """Two rows."""
    return (torch.ones(2, 3, 7),), {}


def test_parameters_are_those_of_a_first_call() -> None:
    """The same numbers in the same order, without a trace of the call itself."""
    called, settled = Net().eval(), Net().eval()
    torch.manual_seed(1)
    called(*example(called)[0])
    torch.manual_seed(1)
    settle_lazy_modules(settled, example)
    assert settled.num_calls == 0
    for key, tensor in called.state_dict().items():
        assert torch.equal(settled.state_dict()[key], tensor)
    assert type(settled.last) is nn.Linear


def test_a_module_without_lazy_parts_is_not_called() -> None:
    """Nor is an example made for it."""
    settle_lazy_modules(nn.Linear(2, 2), lambda _: pytest.fail("no example is needed"))


def test_a_part_that_is_not_reached_is_named() -> None:
    """Nothing says what it should be."""
    model = Net()
    model.unused = nn.LazyLinear(3)
    with pytest.raises(ModelError, match="unused of Net have no shape before the first call, which does not reach"):
        settle_lazy_modules(model, example)


def test_a_call_that_fails_is_one_sentence() -> None:
    """With what the module said."""
    with pytest.raises(ModelError, match=r"a call of a copy fails: .*correct the inputs"):
        settle_lazy_modules(Net(), lambda _: ((torch.ones(2, 3, 4, 5),), {}))
