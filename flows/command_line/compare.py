"""The command line of flows/compare.py: two versions in, what differs out."""

import argparse
from collections.abc import Iterator
from typing import get_args

from rich.markup import escape

from flows.command_line.display import Display
from flows.command_line.parsers import compare_parser
from flows.command_line.run import run_command
from tasks.core.records.comparison import Change, Comparison, ContractChange, Drift, Kind
from tasks.core.reports.numbers import number
from tasks.core.reports.wording import latency_change
from tasks.core.spec.version_name import VersionName


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    return run_command(compare_parser(), _run, arguments, display_class=Display)


def _run(options: argparse.Namespace, results: list[Comparison], display: Display) -> int:
    for text in (options.before, options.now):
        VersionName.parse(text)  # before MLflow is imported
    display.wait("importing MLflow, fetching both versions and running their files")
    from flows.compare import compare_versions

    comparison = compare_versions(options.before, options.now)
    results.append(comparison)
    for line in lines_of(comparison):
        display.line(line)
    return 0


def lines_of(comparison: Comparison) -> Iterator[str]:
    """What a terminal shows, with the markup of rich: a line a difference, and at last what is equal."""
    yield f"[bold]{escape(comparison.before)} -> {escape(comparison.now)}[/]"
    differing = {"contract": [*map(_contract, comparison.contract)]}
    for kind in get_args(Kind):
        differing[kind] = [_line(kind, _words(change)) for change in comparison.changes if change.kind == kind]
    counts = comparison.operators.items()
    differing["operators"] = [_line("operators", f"{name}: {old} became {new}") for name, (old, new) in counts]
    for lines in differing.values():
        yield from lines
    yield _line("speed", latency_change(*comparison.latency) or "not measured on the same processor and inputs")
    yield from _drift_lines(comparison.drift)
    if equal := [what for what, lines in differing.items() if not lines]:
        yield _line("equal", ", ".join(equal))


def _line(what: str, said: str) -> str:
    return f"  {what:<10}  {escape(said)}"


def _contract(change: ContractChange) -> str:
    gone, come = (", ".join(values) or "nothing" for values in (change.before, change.now))
    return f"  [red]✘ contract[/]  {change.word}: {escape(gone)} became {escape(come)}"


def _words(change: Change) -> str:
    name = change.name.removesuffix(f" {change.before} -> {change.now}")  # as packages are told
    return f"{name}: {change.before} became {change.now}"


def _drift_lines(drift: Drift) -> Iterator[str]:
    if drift.reason:
        yield _line("drift", f"not measured: {drift.reason}")
        return
    for output in drift.outputs:
        name = output.name if output.name == output.name_before else f"{output.name_before} -> {output.name}"
        said = output.reason
        if output.relative_rms is not None and output.largest is not None:
            said = f"relative rms difference {number(output.relative_rms)}, largest {number(output.largest)}"
        yield _line("drift", f"{name}: {said}")
    cases = [", ".join(f"{name}={size}" for name, size in sizes.items()) or "fixed sizes" for sizes in drift.sizes]
    yield _line("", f"over {len(cases)} inputs, at {'; '.join(dict.fromkeys(cases))}")
