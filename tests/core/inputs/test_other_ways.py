"""Sizes at which a module goes another way are probed; what cannot be run is a doubt."""

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tasks.core.inputs.inputs import Inputs
from tasks.core.limits import MAX_OTHER_WAYS
from tests.core.inputs.choosing import chosen

LENGTH = "x=float32[batch,length=16,8]"


class Case(nn.Module):
    """Runs a function of itself and its inputs."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function
        self.linear = nn.Linear(8, 8)
        self.table = torch.zeros(64)

    def forward(self, x: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        """Whatever the function gives."""
        answer: torch.Tensor = self.function(self, x) if y is None else self.function(self, x, y)
        return answer


def further(function: Any, *inputs: str, **fields: Any) -> tuple[Inputs, list[dict[str, int]]]:
    """The inputs, and the sizes that were added to those which any module is proven at."""
    found = chosen(Case(function).eval(), *(inputs or (LENGTH,)), **fields)
    return found, [probe.sizes for probe in found.probes if 40 <= probe.seed < 60]


def _grows(network: Case, x: torch.Tensor) -> torch.Tensor:
    if x.shape[1] > network.table.shape[0]:
        network.table = torch.zeros(2 * x.shape[1])
    return x + network.table[: x.shape[1], None]


def _in_parts(_: Case, x: torch.Tensor) -> torch.Tensor:
    parts = []
    for start in range(0, x.shape[1], 64):
        parts.append(x[:, start : start + 64].softmax(1))
    return torch.cat(parts, 1)


def _halves(_: Case, x: torch.Tensor) -> torch.Tensor:
    num_halves, size = 0, x.shape[1]
    while size > 1:
        num_halves, size = num_halves + 1, size // 2
    return x * num_halves


def _nests(_: Case, x: torch.Tensor) -> torch.Tensor:
    if x.shape[1] > 64:
        return x.tanh() if x.shape[1] > 300 else x * 2
    return x


def _padded(_: Case, x: torch.Tensor) -> torch.Tensor:
    x = nn.functional.pad(x, (0, 0, 0, -x.shape[1] % 4)) if x.shape[1] % 4 else x
    return x * 2 if x.shape[1] > 200 else x


@pytest.mark.parametrize(
    ("function", "wanted"),
    [
        (lambda _, x: x * 2 if x.shape[1] > 100 else x, [101]),
        (lambda _, x: x * 2 if x.shape[1] != 1024 else x, [1024]),
        (lambda _, x: x * 2 if int(x.shape[1]) > 100 else x, [101, 1024]),
        (lambda _, x: sum((x * step for step in range(x.shape[1] // 50)), x), [50, 1024]),
        (lambda n, x: {300: n.linear}.get(int(x.shape[1]), nn.Identity())(x), [300, 1024]),
        (lambda _, x: torch.cat([part * step for step, part in enumerate(x.split(50, 1))], 1), [51]),
        (lambda _, x: x * 2 if torch.tensor(x.shape[1]) > 90 else x, [91, 1024]),
        (_in_parts, [65, 1024]),
        (lambda _, x: x * max(1.0, math.log(x.shape[1], 100)), [1024]),
        (lambda _, x: x * math.ceil(x.shape[1] / 100), [101]),
        (lambda _, x: x * math.floor(x.shape[1] / 50), [50]),
        (_grows, [65]),
        (_nests, [65, 301]),
        (_padded, [204, 201]),
        (lambda _, x: x * 2 if x.shape[1] % 4 else x, []),  # sizes that are proven anyway show both sides
        (lambda n, x: n.linear(x), []),
    ],
)
def test_each_other_way_is_probed_once(function: Any, wanted: list[int]) -> None:
    """At the nearest size, alone in the batch, where symbols lead through the module.

    Where they do not, at the largest that was tried, too.
    """
    found, cases = further(function)
    assert [case["length"] for case in cases] == wanted
    assert all(case["batch"] == 1 for case in cases)
    assert found.doubts == ()


def test_relations_of_two_sizes_are_broken() -> None:
    """Larger, equal, sum, and what only both can break."""
    two = (LENGTH, "y=float32[batch,other=12,8]")
    _, cases = further(lambda _, x, y: x if x.shape[1] > y.shape[1] else x * 2, *two)
    assert len(cases) <= 1  # a case that is proven anyway may do
    _, cases = further(lambda _, x, y: x if x.shape[1] + y.shape[1] != 777 else x * 2, *two)
    assert [case["length"] + case["other"] for case in cases] == [777]
    _, cases = further(lambda _, x, y: x if min(x.shape[1], y.shape[1]) < 99 else x * 2, *two)
    assert any(min(case["length"], case["other"]) >= 99 for case in cases)


@pytest.mark.parametrize("rnn", [nn.GRU(8, 8, batch_first=True), nn.RNN(8, 8, bidirectional=True), nn.LSTM(8, 8, 2)])
def test_recurrent_layers_have_no_other_way(rnn: nn.Module) -> None:
    """They take as many steps as there are, and none is followed."""
    found, cases = further(lambda _, x: rnn(x)[0])
    assert (found.doubts, found.notes, cases) == ((), (), [])


def test_what_the_module_itself_refuses_is_no_other_way() -> None:
    """An assertion, and a branch behind one; an answer that is not finite is none, either."""

    def forward(_: Case, x: torch.Tensor) -> torch.Tensor:
        assert x.shape[1] <= 96
        return x * 2 if x.shape[1] > 100 else x

    assert further(forward)[1] == []
    found, cases = further(lambda _, x: x / 0 if x.shape[1] > 100 else x)
    assert cases == []
    assert found.doubts == ()


@pytest.mark.parametrize("positions", [lambda n, x: n.weight[: x.shape[1]], lambda n, x: n(torch.arange(x.shape[1]))])
def test_the_last_size_that_a_table_allows_is_probed(positions: Any) -> None:
    """Positions end at 96: no bound was declared, and a file may end before."""
    table = nn.Embedding(96, 8)

    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = table

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            """Add them."""
            return x + positions(table, x)

    found = chosen(Positions(), LENGTH)
    assert [probe.sizes for probe in found.probes if 40 <= probe.seed < 60] == [{"batch": 1, "length": 96}]


def test_a_loop_that_counts_by_doubling_ends_the_search() -> None:
    """Each power of two is another way; a few are probed, and a note says so."""
    found, cases = further(_halves)
    assert len(cases) == MAX_OTHER_WAYS
    assert "in too many places" in found.notes[0]


def test_a_branch_at_sizes_too_large_to_run_is_a_doubt() -> None:
    """It names the condition, the line and the remedy; with the remedy it is gone."""
    found, cases = further(lambda _, x: x if x.shape[1] < 10**9 else x * 2)
    assert cases == []
    assert len(found.doubts) == 1
    assert found.doubts[0].startswith("the module goes another way at length >= 1000000000 (test_other_ways.py:")
    assert "declare an upper bound" in found.doubts[0]
    found, _ = further(lambda _, x: x if x.shape[1] < 10**9 else x * 2, "x=float32[batch,length=16:1..4096,8]")
    assert found.doubts == ()


@pytest.mark.slow
def test_where_symbols_end_a_note_says_how_far_was_looked() -> None:
    """A packed sequence needs values: the module runs as it is, at sizes around its own numbers and growing ones."""
    rnn = nn.LSTM(8, 8, batch_first=True)

    def forward(_: Case, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        y, _ = pad_packed_sequence(rnn(packed)[0], batch_first=True, total_length=x.shape[1])
        return y.roll(1, 1) if x.shape[1] > 64 else y

    found, cases = further(forward, "x=float32[batch,length=16:8..,8]", "y=int64[batch]@1..8")
    beyond, far = cases  # where the branch is, and the largest size that takes half a second
    assert beyond == {"batch": 1, "length": 65}
    assert far["length"] > 65
    assert [note.partition(" up to ")[0] for note in found.notes] == ["branches on sizes were looked for"]


def test_models_of_known_code_are_not_searched() -> None:
    """Recipes of torchvision bound the sizes of its models already."""
    model = Case(lambda _, x: x * 2 if x.shape[2] > 300 else x)
    found = chosen(model, "x=float32[batch,3,height=64]", name="resnet18", weights="random")
    assert all(probe.seed < 40 or probe.family == "large" for probe in found.probes)
