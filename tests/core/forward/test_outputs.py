"""What forward returns becomes named tensors, in an order of our own."""

import dataclasses
from collections import OrderedDict, namedtuple
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn

from tasks.core.errors import ModelError, SpecError
from tasks.core.forward.outputs import flat_forward, flatten, name_outputs


class Boxes(NamedTuple):
    """A named tuple as users write it."""

    boxes: torch.Tensor
    scores: torch.Tensor | None


@dataclasses.dataclass(frozen=True)
class Output:
    """A dataclass as users write it."""

    logits: torch.Tensor
    hidden: tuple[torch.Tensor, ...]
    loss: torch.Tensor | None = None


def t(value: float) -> torch.Tensor:
    """A tensor that can be told from others."""
    return torch.tensor(value)


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (t(1), {"output": 1}),
        ((t(1),), {"output": 1}),
        ([[(t(1),)]], {"output": 1}),
        ((t(1), t(2)), {"output_0": 1, "output_1": 2}),
        ([t(1), None, t(3)], {"output_0": 1, "output_2": 3}),
        ({"b": t(1), "a": t(2)}, {"b": 1, "a": 2}),
        (OrderedDict(out=t(1), aux=t(2)), {"out": 1, "aux": 2}),
        ({"a": {"x": t(1), "y": (t(2), t(3))}}, {"a_x": 1, "a_y_0": 2, "a_y_1": 3}),
        ([{"boxes": t(1), "labels": t(2)}], {"boxes": 1, "labels": 2}),
        ([{"a": t(1)}, {"a": t(2)}], {"output_0_a": 1, "output_1_a": 2}),
        (Boxes(t(1), t(2)), {"boxes": 1, "scores": 2}),
        (Boxes(t(1), None), {"boxes": 1}),
        (namedtuple("One", "only")(t(1)), {"only": 1}),
        (Output(t(1), (t(2), t(3))), {"logits": 1, "hidden_0": 2, "hidden_1": 3}),
        ((t(1), Output(t(2), ())), {"output_0": 1, "output_1_logits": 2}),
        ({0: t(1), 1: t(2)}, {"0": 1, "1": 2}),
        ({"a b": t(1), "c/d": t(2)}, {"a_b": 1, "c_d": 2}),
        ({"": t(1)}, {"output": 1}),
        (torch.tensor([[1.0, 5.0]]).max(dim=1), {"output_0": 5, "output_1": 1}),
    ],
)
def test_structures_are_named_in_order(output: Any, expected: dict[str, int]) -> None:
    """Keys, fields and places name the tensors; None is left out; the order is that of the structure."""
    assert [(name, tensor.item()) for name, tensor in flatten(output)] == list(expected.items())


@pytest.mark.parametrize(
    "output",
    [
        {"a": {"b": t(1)}, "a_b": t(2)},
        {"a.b": t(1), "a_b": t(2), "a b": t(3)},
        {1: t(1), "1": t(2)},
        {"x": (t(1), t(2)), "x_0": t(3)},
        {"a_b": t(1), "a.b": t(2), "a_b_2": t(3)},
    ],
)
def test_names_are_unique(output: Any) -> None:
    """Places whose names would be equal get numbers: ONNX refuses a name that is used twice."""
    names = [name for name, _ in flatten(output)]
    assert len(set(names)) == len(names)
    assert [tensor.item() for _, tensor in flatten(output)] == list(range(1, len(names) + 1))


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (None, "no tensor but NoneType"),
        ((), "no tensor but tuple"),
        ({"a": None}, "no tensor but dict"),
        (3.0, "returned float in its output"),
        ((t(1), "text"), "returned str in output_1"),
        ({"a": {t(1)}}, "returned set in a"),
        (SimpleNamespace(a=t(1)), "returned SimpleNamespace"),
        (Output, "returned type"),
    ],
)
def test_what_onnx_cannot_hold_is_one_sentence(output: Any, words: str) -> None:
    """Anything but tensors is refused by its type and place."""
    with pytest.raises(ModelError, match=words) as caught:
        flatten(output)
    assert "\n" not in str(caught.value)


def test_given_names_replace_the_structures() -> None:
    """Given names are used in order, and another number of them is refused with what forward returns."""
    found = tuple(name for name, _ in flatten({"b": t(1), "a": t(2)}))
    assert name_outputs(found, ()) == ("b", "a")
    assert name_outputs(found, ("x", "y")) == ("x", "y")
    with pytest.raises(SpecError, match=r"returns 2 tensors \(b, a\) but 1 names were given"):
        name_outputs(found, ("x",))
    assert name_outputs(found, ("b", "y")) == ("b", "y")
    with pytest.raises(SpecError, match="--output a would name another tensor than forward's own a"):
        name_outputs(found, ("a", "y"))


class Two(nn.Module):
    """Returns a dict whose keys are not in the order of the alphabet."""

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Twice and thrice."""
        return {"b": 2 * x, "a": 3 * x}


@pytest.fixture
def own_forward() -> Iterator[nn.Module]:
    """A module whose forward was replaced on the instance."""
    model = Two()
    model.forward = lambda x: {"z": x}  # type: ignore[method-assign]
    return model  # type: ignore[return-value]


def test_flat_forward_gives_a_tuple_and_goes_again(own_forward: nn.Module) -> None:
    """Within the context forward returns a tuple in the order of the names; afterwards all is as before."""
    for model in (Two(), own_forward):
        before = dict(vars(model))
        names = [name for name, _ in flatten(model(t(1)))]
        expected = [tensor.item() for _, tensor in flatten(model(t(1)))]
        with flat_forward(model):
            assert [tensor.item() for tensor in model(t(1))] == expected
        assert vars(model) == before
        assert [name for name, _ in flatten(model(t(1)))] == names


def test_flat_forward_goes_again_after_an_error() -> None:
    """An error inside leaves the module as it was, and a lone tensor stays one."""
    model = nn.Linear(2, 2)
    with flat_forward(model):
        assert isinstance(model(torch.zeros(1, 2)), torch.Tensor)
    with pytest.raises(RuntimeError), flat_forward(model):
        model(torch.zeros(1, 3))
    assert "forward" not in vars(model)
