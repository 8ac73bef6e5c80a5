"""What options ask of variants, and how these are shown."""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

from rich.filesize import decimal
from rich.table import Table

from tasks.core.errors import SpecError
from tasks.core.records.steps import ExportResult
from tasks.core.records.variants import VariantTerms
from tasks.core.reports.wording import VERDICT_MARKS
from tasks.core.syntax import DATA_SYNTAX

_ONLY_WITH_VARIANTS = ("calibrate", "evaluate", "budget", "measure", "method", "io_fp16", "within_budget")


def variant_terms(options: argparse.Namespace) -> list[VariantTerms]:
    """The variants that are asked for, each once; a SpecError where something lacks."""
    given = {name: getattr(options, name) for name in _ONLY_WITH_VARIANTS if getattr(options, name) is not None}
    kinds = list(dict.fromkeys(options.variants or ()))
    if given and not kinds:
        raise SpecError(f"--{next(iter(given)).replace('_', '-')} is for variants; ask for one, e.g. --variant int8.")
    if "int8-static" in kinds and not options.calibrate:
        raise SpecError("The variant int8-static needs --calibrate DATA: samples that give its ranges.")
    if options.within_budget and not options.evaluate:
        raise SpecError("--within-budget needs --evaluate DATA: samples on which the loss is measured.")
    _check_there(options.calibrate, options.evaluate)
    return [VariantTerms(kind=kind, **given) for kind in kinds]


def evaluation_terms(options: argparse.Namespace) -> VariantTerms | None:
    """By what files of somebody else are judged; None: they are proven to compute what the model computes."""
    if options.evaluate is None:
        for name in ("budget", "measure"):
            if getattr(options, name) is not None:
                raise SpecError(f"--{name} needs --evaluate DATA: samples on which the loss is measured.")
        return None
    _check_there(options.evaluate)
    given = {n: getattr(options, n) for n in ("budget", "measure") if getattr(options, n) is not None}
    return VariantTerms(kind="int8", evaluate=options.evaluate, **given)


def _check_there(*texts: str | None) -> None:
    for text in filter(None, texts):  # what is in it is seen once there is a file
        path = Path(re.sub(r"(\.py):\w+$", r"\1", text)).expanduser()
        if not path.exists():
            raise SpecError(f"There are no samples at {path}; {DATA_SYNTAX}.")


def variant_path(output: Path | None, terms: VariantTerms) -> Path | None:
    """Where a variant goes, beside the proven file; None: nowhere.

    Args:
        output: of the proven file.
        terms: of the variant.
    """
    return output and output.with_name(f"{output.stem}-{terms.kind}{output.suffix}")


def variants_table(results: list[ExportResult]) -> Table:
    """Size and loss of the proven files and of their variants; errors as a multiple of the least that a precision has.

    Args:
        results: of one call of the command.
    """
    table = Table(box=None, pad_edge=False)
    for heading in ("", "", "size", "one row", "loses", "at most", "error", "x least"):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for result in results:
        if result.graph is not None:
            mark = VERDICT_MARKS[result.verdict][0]
            table.add_row(mark, result.name, decimal(result.graph.size_bytes), *_figures(result))
    return table


def _figures(result: ExportResult) -> Iterator[str]:
    evidence = result.variant
    timed = evidence.latency if evidence else (result.latency.onnx if result.latency else None)
    yield f"{timed.median_ms:.3g} ms" if timed else "-"
    loss, precision = (evidence.loss, evidence.precision) if evidence else (None, None)
    yield f"{loss.loss:.2%}" if loss else "-"
    yield f"{max(loss.high, 0):.2%}" if loss else "-"
    yield f"{precision.error:.2g}" if precision else "-"
    yield f"{precision.ratio:.2f}" if precision else "-"
