"""The options that describe a model and its inputs, and the specs that they make."""

import argparse
import json
from pathlib import Path
from typing import Any, NoReturn

from tasks.core.errors import SpecError
from tasks.core.spec.destination import check_not_read, files_read
from tasks.core.spec.export_spec import DEFAULT_OPSET, ExportSpec, ResolvedSpec
from tasks.core.spec.input_spec import DIM_SYNTAX, INPUT_SYNTAX
from tasks.core.spec.resolve import make_spec, resolve
from tasks.core.weights.sources import WEIGHTS_CHOICES

DEFAULT_MODEL = "digits"


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are SpecErrors."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of exiting, so that the JSON is written on every exit."""
        raise SpecError(f"{message}; see --help.")


def add_spec_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that become fields of an ExportSpec."""
    add = parser.add_argument
    chosen = "of several sets of weights in a file, FILE#state_dict_ema takes one"
    add("--weights", metavar="W", help=f"torchvision enum member (DEFAULT), {WEIGHTS_CHOICES}; {chosen}")
    add("--ignore-missing", metavar="GLOB", action="append", help="keys that the weights may lack; repeatable")
    add("--ignore-unexpected", metavar="GLOB", action="append", help="keys that the model may lack; repeatable")
    add("--sample", metavar="FILE.npz", type=Path, help="real inputs, arrays by input name")
    add("--kwargs", metavar="JSON", type=_json_object, help="arguments of the factory")
    forward = """arguments of forward that are no tensors, e.g. '{"use_cache": false}'"""
    add("--forward-kwargs", metavar="JSON", type=_json_object, help=forward)
    syntax = INPUT_SYNTAX.replace("%", "%%")
    add("--input", metavar="SPEC", action="append", dest="inputs", help=f"{syntax}; DIM is {DIM_SYNTAX}; repeatable")
    outputs = "outputs to keep, by their own names; or a name for each; repeatable"
    add("--output", metavar="NAME", action="append", dest="outputs", help=outputs)
    add("--opset", metavar="N", type=int, help=f"default {DEFAULT_OPSET}")
    add("--exporter", choices=("auto", "dynamo", "torchscript"), help="default auto")
    constant = "this output is meant not to depend on the input; repeatable"
    add("--constant-output", metavar="NAME", action="append", dest="constant_outputs", help=constant)
    add("--name", metavar="NAME", help="registered model name; default: the model's")


def make_specs(options: argparse.Namespace, *, use_catalog: bool = True) -> list[ResolvedSpec]:
    """Make one resolved spec a model.

    Args:
        options: with the list `models`, and the fields of a spec.
        use_catalog: a model may be an entry of the catalog.
    """
    given = {name: getattr(options, name, None) for name in ExportSpec.model_fields if name != "model"}
    fields = {name: value for name, value in given.items() if value is not None}
    models = options.models or [DEFAULT_MODEL]
    if "name" in fields and len(models) > 1:
        raise SpecError(f"--name {fields['name']} can't name {len(models)} models; export them one by one.")
    specs = [resolve(make_spec(model=model, **fields), use_catalog=use_catalog) for model in models]
    names = [spec.title for spec in specs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise SpecError(f"Two models are called {twice[0]}; export them one by one, each with a --name.")
    if getattr(options, "json", None):
        for spec in specs:
            check_not_read(Path(options.json), files_read(spec))
    return specs


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no JSON ({error})") from error
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"{text!r} is no JSON object; write '{{\"NAME\": VALUE}}'")
    return value
