"""What a shell completes after `assay`: commands, options, names of models."""

import argparse

from flows.command_line.parsers import compare_parser, export_parser, sweep_parser, verify_parser
from tasks.core.families.registry import FAMILIES
from tasks.core.spec.catalog import read_catalog


def completing_parser() -> argparse.ArgumentParser:
    """All commands in one parser, which is for completion only."""
    parser = argparse.ArgumentParser(prog="assay")
    commands = parser.add_subparsers()
    names = sorted({*read_catalog(), *(name for family in FAMILIES for name in family.names() if ":" not in name)})
    parsers = {"export": export_parser, "verify": verify_parser, "sweep": sweep_parser, "compare": compare_parser}
    for name, make_parser in parsers.items():
        made = make_parser(f"assay {name}")
        for action in made._actions:
            if action.dest in ("model", "models"):
                action.choices = names
        commands.add_parser(name, parents=[made], conflict_handler="resolve", help=made.description)
    for name in ("serve", "notify"):
        commands.add_parser(name, help=name)  # without help it is no command to shtab
    return parser
