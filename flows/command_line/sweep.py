"""The command line of flows/sweep.py: options in, a line a model, a table in MLflow, exit status."""

import argparse
import fnmatch
import gc

from flows.command_line.options import Parser, add_spec_options, make_specs
from flows.command_line.run import STATUSES, add_output_options, run_command
from flows.command_line.sweep_display import SweepDisplay
from flows.outcomes import failed
from flows.processes.dask_address import LOCAL, host_seen_from
from flows.processes.temporary_server import TemporaryServer
from tasks.core.errors import AssayError, ExportError, SpecError
from tasks.core.families.registry import MODEL_SYNTAX
from tasks.core.families.torchvision import TorchvisionFamily
from tasks.core.records.steps import ExportResult
from tasks.core.spec.export_spec import ResolvedSpec
from tasks.core.spec.resolve import read_catalog

TIMEOUT_SECONDS = 3600.0


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    return run_command(_parser(), _run, arguments, display_class=SweepDisplay)


def _parser() -> Parser:
    description = "Export many models to ONNX side by side, prove each, and register it in MLflow."
    parser = Parser(prog="python flows/sweep.py", description=description, epilog=STATUSES)
    add = parser.add_argument
    add("models", nargs="*", metavar="MODEL", help=f"{MODEL_SYNTAX}; default: the whole catalog")
    add("--all-torchvision", action="store_true", help="every model of torchvision, as torchvision has it")
    add("--select", metavar="GLOB", default="*", help="of these only the models whose name fits")
    add_spec_options(parser)
    add("--workers", metavar="N", type=_positive, help="processes on this machine; default as cores and memory allow")
    dask = "export on the workers of this Dask scheduler (tcp://HOST:PORT); without address on a local cluster"
    add("--dask", metavar="ADDRESS", nargs="?", const=LOCAL, help=dask)
    add("--resume", action="store_true", help="go on with the latest sweep of the same models that was interrupted")
    add("--force", action="store_true", help="export even where nothing changed")
    given_up = f"after which a model is given up; default {TIMEOUT_SECONDS:g}"
    add("--timeout", metavar="SECONDS", dest="timeout_seconds", type=_positive, default=TIMEOUT_SECONDS, help=given_up)
    add_output_options(parser)
    return parser


def _run(options: argparse.Namespace, results: list[ExportResult], display: SweepDisplay) -> None:
    specs = _specs(options)
    server = TemporaryServer(host_seen_from(options.dask))
    server.start()  # on the second core, while this process imports and looks
    display.progress(len(specs))
    from flows.sweep import SweepOptions, sweep

    gc.freeze()
    gc.enable()

    def tell(result: ExportResult) -> None:
        results.append(result)  # at once: an interruption leaves what is finished
        display.swept(result)

    how = SweepOptions(**{name: getattr(options, name) for name in SweepOptions.model_fields})
    order = {spec.title: place for place, spec in enumerate(specs)}
    try:
        sweep(specs, how, tell=tell, ready=server.ready(), opened=display.browse, planned=display.planned)
    except (AssayError, KeyboardInterrupt) as error:
        reason = error if isinstance(error, AssayError) else ExportError("not reached, as the sweep was interrupted")
        reached = {result.name for result in results}
        results += [failed(title, reason) for title in order if title not in reached]
        if isinstance(error, KeyboardInterrupt):
            raise
        display.error(str(error))
    finally:
        results.sort(key=lambda result: order[result.name])


def _specs(options: argparse.Namespace) -> list[ResolvedSpec]:
    """The specs that were chosen.

    Raises:
        SpecError: none was.
    """
    specs = []
    if options.models or not options.all_torchvision:
        options.models = options.models or list(read_catalog())
        specs += make_specs(options)
    if options.all_torchvision:
        options.models = fnmatch.filter(TorchvisionFamily().names(), options.select)
        # the catalog's entries of these names may differ from what torchvision has
        specs += make_specs(options, use_catalog=False) if options.models else []
    chosen = [spec for spec in specs if fnmatch.fnmatchcase(spec.title, options.select)]
    if not chosen:
        known = ", ".join(spec.title for spec in specs[:8]) or "torchvision's own"
        raise SpecError(f"--select {options.select!r} fits none of the {len(specs)} models ({known}…).")
    return chosen


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 up")
    return int(text)
