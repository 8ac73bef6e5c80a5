"""Inputs reach forward as it takes them: by keyword or position, alone or inside lists, tuples and dicts."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tasks.core.errors import InputsError, SpecError
from tasks.core.forward.arguments import argument_paths, build_arguments, forward_order, renamed
from tasks.core.inputs.choice import choose_inputs
from tasks.core.spec.export_spec import ExportSpec
from tasks.core.spec.resolve import resolve
from tests.core.proof.proving import prove


class Lists(nn.Module):
    """Takes pictures in a list, a scale in a dict, and a pair in a tuple."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Conv2d(3, 4, 3)

    def forward(
        self, images: list[torch.Tensor], options: dict[str, torch.Tensor], pair: tuple[torch.Tensor, ...] | None = None
    ) -> dict[str, torch.Tensor]:
        """One answer a picture."""
        assert isinstance(images, list)
        assert pair is None or isinstance(pair, tuple)
        bias = 0 if pair is None else pair[0] - pair[1]
        scaled = [self.layer(image).relu() * options["scale"] + bias for image in images]
        return {f"picture_{index}": answer.mean((-1, -2)) for index, answer in enumerate(scaled)}


class Positions(nn.Module):
    """Takes any number of tensors by position, and one by keyword."""

    def forward(self, first: torch.Tensor, /, *rest: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        """Their sum."""
        return sum(rest, first) * scale


def placed(model: nn.Module, *names: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Args and kwargs with as many tensors, which hold 0, 1, 2 and so on."""
    tensors = [torch.full((1,), float(index)) for index in range(len(names))]
    return build_arguments(argument_paths(names, model), tensors)


def test_paths_build_lists_dicts_and_tuples() -> None:
    """Indices make a list, or a tuple where forward's annotation says so; words make a dict."""
    args, kwargs = placed(Lists(), "images.0", "options.scale", "images.1", "pair.0", "pair.1")
    assert args == ()
    assert [float(item) for item in kwargs["images"]] == [0, 2]
    assert float(kwargs["options"]["scale"]) == 1
    assert [float(item) for item in kwargs["pair"]] == [3, 4]
    assert type(kwargs["pair"]) is tuple


def test_an_input_that_is_passed_as_another_parameter_is_noted() -> None:
    """A misspelt name, or one that forward takes among others, is passed by position with the rest."""

    class Open(nn.Module):
        def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None, **others: torch.Tensor) -> torch.Tensor:
            """The first."""
            return x

    def noted(*names: str) -> tuple[str, ...]:
        return renamed(names, argument_paths(names, Open()), Open())

    (note,) = noted("x", "scale")
    assert note.startswith("scale is passed to forward as mask, by position")
    assert noted("x", "others.scale") == noted("x", "mask") == noted("image", "where") == ()


def test_paths_nest() -> None:
    """A path may go on: a list of dicts is a list of dicts."""

    class Nested(nn.Module):
        def forward(self, batch: list[dict[str, torch.Tensor]]) -> torch.Tensor:
            """The first one's pixels."""
            return batch[0]["pixels"]

    _, kwargs = placed(Nested(), "batch.0.pixels", "batch.0.mask", "batch.1.pixels")
    assert [sorted(item) for item in kwargs["batch"]] == [["mask", "pixels"], ["pixels"]]


def test_positional_parameters_are_passed_by_position() -> None:
    """What forward takes by position only, `*rest` among it, comes as args; the rest by keyword."""
    args, kwargs = placed(Positions(), "scale", "rest.1", "first", "rest.0")
    assert [float(value) for value in args] == [2, 3, 1]
    assert {name: float(value) for name, value in kwargs.items()} == {"scale": 0}
    assert forward_order(argument_paths(("scale", "rest.0", "first"), Positions()), Positions()) == [2, 1, 0]


def test_names_with_dots_that_forward_does_not_know_are_plain() -> None:
    """`data.1`, as old exporters call an input, is no path: it is passed by position."""
    args, kwargs = placed(nn.Sequential(nn.ReLU()), "data.1")
    assert [float(value) for value in args] == [0]
    assert kwargs == {}


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("images.0", "images.2", "options.scale"), "images has the items 0, 2; number them from 0 without a gap"),
        (("images.1", "options.scale"), "images has the items 1; number them"),
        (("images.0", "images.left"), "images has indices and keys"),
        (("images", "images.0"), "images.0 lies inside images, which is an input itself"),
    ],
)
def test_paths_that_contradict_are_one_sentence(names: tuple[str, ...], words: str) -> None:
    """A gap in a list, a list that is a dict, an input inside another: each is told by its names."""
    with pytest.raises(SpecError, match=words):
        argument_paths(names, Lists())


def test_a_positional_argument_that_is_left_out_is_one_sentence() -> None:
    """What comes after a hole has no position."""
    with pytest.raises(SpecError, match=r"rest\.1 leave out a positional argument"):
        argument_paths(("first", "rest.1"), Positions())


def test_a_path_into_nothing_is_told_by_the_module() -> None:
    """A path whose first word forward does not know is passed as a tensor, and the message names it."""
    spec = resolve(ExportSpec(model=nn.Linear(3, 2), inputs=("picture.0=float32[batch,4]",)))
    with pytest.raises(InputsError, match=r"does not run on picture\.0=float32\[batch=2,4\]"):
        choose_inputs(spec, spec.model)


@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
def test_nested_inputs_are_exported_and_proven(exporter: str, tmp_path: Path) -> None:
    """Both exporters give a file whose inputs are the tensors inside, under the names asked for, and it passes."""
    inputs = (
        "images.0=float32[3,height=12:3..,width=10:3..]",
        "images.1=float32[3,height,width]",
        "options.scale=float32[1]@1..2",
    )
    names = ("left", "right", "scale")
    evidence = prove(Lists(), inputs, tmp_path, exporter=exporter, input_names=names)
    assert (evidence.verdict, evidence.reasons) == ("pass", ())
    assert [output.name for output in evidence.outputs] == ["picture_0", "picture_1"]
    assert {(dim.input, dim.name) for dim in evidence.dims} == {
        (name, side) for name in ("left", "right") for side in ("height", "width")
    }


@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
def test_positional_inputs_are_exported_and_proven(exporter: str, tmp_path: Path) -> None:
    """A forward of `*rest` gives a file with one input a tensor."""
    inputs = ("first=float32[batch,3]", "rest.0=float32[batch,3]", "scale=float32[1]")
    evidence = prove(Positions(), inputs, tmp_path, exporter=exporter)
    assert (evidence.verdict, evidence.reasons) == ("pass", ())
