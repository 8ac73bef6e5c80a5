"""The options that describe a model become specs."""

from pathlib import Path

import pytest

from flows.command_line.options import make_specs
from flows.command_line.parsers import Parser, add_spec_options
from tasks.core.errors import SpecError
from tasks.core.spec.export_spec import ResolvedSpec


def parsed(*arguments: str) -> list[ResolvedSpec]:
    """What a command line gives."""
    parser = Parser()
    parser.add_argument("models", nargs="*")
    add_spec_options(parser)
    return make_specs(parser.parse_args(arguments))


def test_options_are_fields_of_the_spec() -> None:
    """Repeated ones in their order; without a model it is the catalog's digits."""
    (spec,) = parsed(
        "resnet18", "--weights", "random:3", "--input", "image=float32[batch,3,64,64]", "--opset", "19",
        "--kwargs", '{"num_classes": 5}', "--exporter", "dynamo", "--name", "small",
        "--ignore-missing", "fc.*", "--ignore-missing", "bn.*",
    )  # fmt: skip
    assert (spec.model, spec.title, spec.weights) == ("resnet18", "small", "random:3")
    assert (spec.kwargs, spec.opset, spec.exporter) == ({"num_classes": 5}, 19, "dynamo")
    assert [declared.name for declared in spec.inputs] == ["image"]
    assert tuple(spec.ignore_missing) == ("fc.*", "bn.*")
    assert [spec.title for spec in parsed()] == ["digits"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--opset", "many"], "invalid int value: 'many'; see --help"),
        (["--kwargs", "[1]"], r"'\[1\]' is no JSON object"),
        (["digits", "digits"], "Two models are called digits"),
        (["digits", "resnet18", "--name", "one"], "can't name 2 models"),
    ],
)
def test_what_is_wrong_is_a_spec_error(arguments: list[str], says: str) -> None:
    """Of the parser, too, which does not end the process."""
    with pytest.raises(SpecError, match=says):
        parsed(*arguments)


def test_a_sample_is_a_path() -> None:
    """It is looked at when specs are checked, not here."""
    (spec,) = parsed("resnet18", "--weights", "random", "--sample", "real.npz")
    assert isinstance(spec.sample, Path)
    assert spec.sample.name == "real.npz"
