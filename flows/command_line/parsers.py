"""The options of the command lines, as help shows them. Imports little: help is there at once."""

import argparse
import difflib
import json
import re
import textwrap
from pathlib import Path
from typing import Any, NoReturn

from flows.processes.dask_address import LOCAL
from tasks.core.errors import ServiceError, SpecError, VerdictError
from tasks.core.families.registry import MODEL_SYNTAX
from tasks.core.speed.budget import SECONDS
from tasks.core.syntax import DEFAULT_OPSET, DIM_SYNTAX, VERSION_SYNTAX, WEIGHTS_CHOICES

DEFAULT_MODEL = "digits"
TIMEOUT_SECONDS = 3600.0
STATUSES = (
    f"Exit status: 0 proven or unchanged, {VerdictError.exit_status} not proven, {SpecError.exit_status} bad input, "
    f"{ServiceError.exit_status} a service could not be reached."
)
_STATUSES_OF_COMPARISON = (
    f"Exit status: 0 compared, whatever differs, {SpecError.exit_status} bad input, "
    f"{ServiceError.exit_status} there is no store, or it could not be reached."
)
_WIDEST_OPTION = 26
KINDS = ("slim", "fp16", "int8", "int8-static")
MEASURES = ("accuracy", "agreement", "masks", "neighbours", "relative-error")
_MEASURE_HELP = (
    f"what the loss is counted by: {', '.join(MEASURES)}; default: as the labels and the first output have it"
)
_DATA = ".npz with arrays by input name (and labels), a folder of them or of pictures, or file.py:function"
_CHECK = "hash the stored file of what did not change, which is else done once a day"


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are SpecErrors, and whose help ends with examples."""

    def __init__(self, *, examples: str = "", statuses: str = STATUSES, **options: Any) -> None:
        """Make one.

        Args:
            examples: command lines, with `%(prog)s`; help ends with them and the exit statuses.
            statuses: what the exit statuses mean, in one sentence.
            options: of ArgumentParser.
        """
        epilog = f"{examples and 'examples:'}{examples.rstrip()}\n\n{statuses}".lstrip()
        super().__init__(epilog=epilog, formatter_class=_Formatter, **options)

    def error(self, message: str) -> NoReturn:
        """Raise instead of exiting, so that the JSON is written on every exit."""
        known = [option for action in self._actions for option in action.option_strings]
        if unknown := re.search(r"unrecognized arguments:.*?(--[\w-]+)", message):
            close = difflib.get_close_matches(unknown[1], known, n=1)
            message += f"; did you mean {close[0]}?" if close else ""
        raise SpecError(f"{message}; see --help." if not message.endswith("?") else message)


class _Formatter(argparse.HelpFormatter):
    """Keeps the lines of examples, and gives options little room, so that help fits a terminal."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        parts = text.split("\n\n")
        return "\n\n".join(part if "\n" in part else textwrap.fill(part, width) for part in parts)

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=_WIDEST_OPTION)


def export_parser(prog: str = "python flows/export.py") -> Parser:
    """The options of an export."""
    parser = Parser(
        prog=prog,
        usage="%(prog)s [MODEL...] [options]",
        description="Turn PyTorch models into ONNX files, prove each, and register it in MLflow.",
        examples="""
  %(prog)s resnet18 -o resnet18.onnx
  %(prog)s resnet18 vit_b_16 --weights random -o out/
  %(prog)s net.py:UNet --weights unet.pth \\
      --input 'image=float32[batch,3,height=256,width=256]@0..1'
  %(prog)s --list 'resnet*'""",
    )
    add = parser.add_argument
    add("models", nargs="*", metavar="MODEL", help=f"{MODEL_SYNTAX}; default {DEFAULT_MODEL}")
    add("--list", metavar="GLOB", nargs="?", const="*", help="list models, and whether their weights are here")
    add_spec_options(parser)
    add_variant_options(parser)
    results = parser.add_argument_group("results")
    results.add_argument("-o", dest="destination", metavar="FILE|DIR/", help="also put the proven file there")
    results.add_argument("--force", action="store_true", help="export even where nothing changed")
    results.add_argument("--check", action="store_true", help=_CHECK)
    contract = "let `champion` move to other inputs or outputs; exports even where nothing changed"
    results.add_argument("--accept-contract", action="store_true", help=contract)
    speed = f"do not measure how long a run takes beside PyTorch, which takes {SECONDS:g} seconds"
    results.add_argument("--no-timing", dest="timing", action="store_false", help=speed)
    add_output_options(results)
    return parser


def verify_parser(prog: str = "python flows/verify.py") -> Parser:
    """The options of a verification."""
    parser = Parser(
        prog=prog,
        usage="%(prog)s MODEL FILE.onnx... [options]\n       %(prog)s --store [GLOB] [--json FILE]",
        description="Prove .onnx files that somebody else made against their PyTorch model. Without --input the dims "
        "are each file's own. With --store: is what MLflow holds of each version still what was proven?",
        examples="""
  %(prog)s resnet50 theirs.onnx ours.onnx
  %(prog)s net.py:UNet --weights unet.pth unet.onnx --json -
  %(prog)s --store 'resnet*'""",
    )
    parser.add_argument("model", nargs="?", metavar="MODEL", help=MODEL_SYNTAX)
    parser.add_argument("files", nargs="*", metavar="FILE.onnx", type=Path, help="files to prove")
    store = "look through the store instead: which versions' files are lost, changed or unproven"
    lossy = parser.add_argument_group("quantised and half-precision files").add_argument
    lossy("--evaluate", metavar="DATA", help=f"judge by what they lose on these samples: {_DATA}")
    lossy("--budget", metavar="P%", type=_share, help="the loss that is allowed; default 1%%")
    lossy("--measure", metavar="MEASURE", choices=MEASURES, help=_MEASURE_HELP)
    parser.add_argument("--store", metavar="GLOB", nargs="?", const="*", help=store)
    add_spec_options(parser)
    add_output_options(parser.add_argument_group("results"))
    return parser


def sweep_parser(prog: str = "python flows/sweep.py") -> Parser:
    """The options of a sweep."""
    parser = Parser(
        prog=prog,
        usage="%(prog)s [MODEL...] [options]",
        description="Export many models to ONNX side by side, prove each, and register it in MLflow.",
        examples="""
  %(prog)s --all-torchvision --select 'resnet*' --weights random
  %(prog)s --select 'timm:*tiny*' --weights random
  %(prog)s resnet18 vit_b_16 --workers 2 --json out.json
  %(prog)s --resume""",
    )
    add = parser.add_argument
    add("models", nargs="*", metavar="MODEL", help=f"{MODEL_SYNTAX}; default: the whole catalog")
    add("--all-torchvision", action="store_true", help="every model of torchvision, as torchvision has it")
    which = "of these only the models whose name fits; alone, of timm's: 'timm:*tiny*'"
    add("--select", metavar="GLOB", default="*", help=which)
    add_spec_options(parser)
    how = parser.add_argument_group("how")
    how.add_argument(
        "--workers", metavar="N", type=_positive, help="processes here; default: as cores and memory allow"
    )
    dask = "use the workers of a Dask scheduler (tcp://HOST:PORT); alone: of a cluster on this machine"
    how.add_argument("--dask", metavar="ADDRESS", nargs="?", const=LOCAL, help=dask)
    how.add_argument("--resume", action="store_true", help="go on with the latest sweep of the same models")
    how.add_argument("--force", action="store_true", help="export even where nothing changed")
    how.add_argument("--check", action="store_true", help=_CHECK)
    given_up = f"after which a model is given up; default {TIMEOUT_SECONDS:g}"
    how.add_argument(
        "--timeout", metavar="SECONDS", dest="timeout_seconds", type=_positive, default=TIMEOUT_SECONDS, help=given_up
    )
    add_output_options(parser.add_argument_group("results"))
    return parser


def compare_parser(prog: str = "python flows/compare.py") -> Parser:
    """The options of a comparison."""
    parser = Parser(
        prog=prog,
        usage="%(prog)s BEFORE NOW [options]",
        description="Tell what changed between two versions that MLflow holds: weights, code, spec, packages, "
        "contract, operators, size, and how far their outputs are apart on the same inputs.",
        examples="""
  %(prog)s digits/3 digits/4
  %(prog)s digits@champion digits@proven --json -""",
        statuses=_STATUSES_OF_COMPARISON,
    )
    parser.add_argument("before", metavar="BEFORE", help=VERSION_SYNTAX)
    parser.add_argument("now", metavar="NOW", help="likewise")
    add_json_option(parser)
    return parser


def add_spec_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that become fields of an ExportSpec."""
    model = parser.add_argument_group("model").add_argument
    part = "of several sets in a file FILE#state_dict_ema takes one"
    model("--weights", metavar="W", help=f"torchvision enum member (DEFAULT), {WEIGHTS_CHOICES}; {part}")
    model("--ignore-missing", metavar="GLOB", action="append", help="keys that the weights may lack; repeatable")
    model("--ignore-unexpected", metavar="GLOB", action="append", help="keys that the model may lack; repeatable")
    model("--task", metavar="NAME", help="of a model of hf:, e.g. text-classification; default: from its config")
    trust = "run the code that comes with a model of hf: (auto_map); read it before"
    model("--trust-remote-code", action="store_true", default=None, help=trust)
    model("--kwargs", metavar="JSON", type=_json_object, help="arguments of the factory")
    model("--name", metavar="NAME", help="registered model name; default: the model's")
    values = parser.add_argument_group("inputs and outputs").add_argument
    syntax = f"NAME=DTYPE[DIM,...]@LOW..HIGH, or @padded for a mask; DIM is {DIM_SYNTAX}; repeatable"
    values("--input", metavar="SPEC", action="append", dest="inputs", help=syntax.replace("%", "%%"))
    values("--sample", metavar="FILE.npz", type=Path, help="real inputs, arrays by input name")
    forward = """arguments of forward that are no tensors, e.g. '{"use_cache": false}'"""
    values("--forward-kwargs", metavar="JSON", type=_json_object, help=forward)
    outputs = "outputs to keep, by their own names; or a name for each; repeatable"
    values("--output", metavar="NAME", action="append", dest="outputs", help=outputs)
    constant = "this output is meant not to depend on the input; repeatable"
    values("--constant-output", metavar="NAME", action="append", dest="constant_outputs", help=constant)
    values("--opset", metavar="N", type=int, help=f"default {DEFAULT_OPSET}")
    values("--exporter", choices=("auto", "dynamo", "torchscript"), help="default auto")


def add_variant_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that ask for variants of the proven file."""
    add = parser.add_argument_group("variants").add_argument
    kinds = f"{', '.join(KINDS)}: also make and judge this variant of the proven file; repeatable"
    add("--variant", metavar="KIND", action="append", dest="variants", choices=KINDS, help=kinds)
    add("--calibrate", metavar="DATA", help=f"samples that give the ranges of int8-static: {_DATA}")
    add("--evaluate", metavar="DATA", help="other samples, on which the loss is measured; likewise")
    add("--budget", metavar="P%", type=_share, help="the loss that is allowed; default 1%%")
    add("--measure", metavar="MEASURE", choices=MEASURES, help=_MEASURE_HELP)
    ranges = "how int8-static finds ranges; default minmax"
    add("--calibration-method", choices=("minmax", "percentile", "entropy"), dest="method", help=ranges)
    add("--io-fp16", action="store_true", default=None, help="inputs and outputs of fp16 are half precision, too")
    keep = "keep the nodes that lose most in float32 until the loss is within the budget"
    add("--within-budget", action="store_true", default=None, help=keep)


def add_output_options(parser: "argparse.ArgumentParser | argparse._ArgumentGroup") -> None:
    """Add the options that say how much is shown, and where."""
    parser.add_argument("--verbose", action="store_true", help="print the graph, and where a defect lies")
    add_json_option(parser)


def add_json_option(parser: "argparse.ArgumentParser | argparse._ArgumentGroup") -> None:
    """Add the option that writes the result down."""
    parser.add_argument("--json", metavar="FILE", help="machine-readable result; - for standard output")


def _share(text: str) -> float:
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 < share < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share such as 1% or 0.01")
    return share


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 up")
    return int(text)


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise argparse.ArgumentTypeError(f"{text[:80]!r} is nested too deep") from error
    except ValueError as error:  # an integer of 5,000 digits is one, too
        raise argparse.ArgumentTypeError(f"{text[:80]!r} is no JSON ({error})") from error
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"{text!r} is no JSON object; write '{{\"NAME\": VALUE}}'")
    return value
