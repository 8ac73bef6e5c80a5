"""Writes docs/reference.md from the parsers and records: python tests/reference_page.py --write docs/reference.md."""

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[1])

from deployments import notify, serve
from flows.command_line import parsers
from tasks.core.records.record import Record
from tasks.core.records.steps import ExportResult
from tasks.core.spec.export_spec import ExportSpec

PARSERS = {
    "export": parsers.export_parser,
    "verify": parsers.verify_parser,
    "sweep": parsers.sweep_parser,
    "compare": parsers.compare_parser,
}
HEAD = """# Reference

Made from the code by `python tests/reference_page.py --write docs/reference.md`; a test sees that it is current.

`assay export` and `python flows/export.py` are the same; so are the others, and `python deployments/serve.py`.
"""
RECORDS = """
## From Python

`flows.export.export_model(spec)` takes an `ExportSpec` and gives an `ExportResult`, or raises a `VerdictError`.
"""


def page() -> str:
    """The whole page, in Markdown."""
    lines = [HEAD]
    for name, make in PARSERS.items():
        lines += _command(f"assay {name}", make(f"assay {name}"))
    for name, module in (("serve", serve), ("notify", notify)):
        lines += _command(f"assay {name}", module._parser())
    lines.append(RECORDS)
    for record in (ExportSpec, ExportResult):
        lines += _record(record)
    return "\n".join(lines)


def _command(name: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    """Heading, description, and a table of what it takes."""
    yield f"## {name}\n"
    yield f"{parser.description}\n"
    yield "| option | meaning |"
    yield "|---|---|"
    for group in parser._action_groups:
        for action in group._group_actions:
            if action.dest != "help":
                yield f"| {_cell(_written(action))} | {_cell(_meaning(action, parser), code=False)} |"
    examples, _, statuses = str(parser.epilog).partition("\n\n")
    if examples.startswith("examples:"):
        text = examples.removeprefix("examples:\n") % {"prog": name}
        yield f"\n```\n{re.sub(r'^  ', '', text, flags=re.MULTILINE)}\n```"
    yield f"\n{statuses or parser.epilog}\n"


def _written(action: argparse.Action) -> str:
    """As a user writes it: `--weights W`, `MODEL`."""
    name = ", ".join(action.option_strings)
    value = action.metavar or (action.choices and "|".join(action.choices)) or ""
    return f"{name} {value if action.nargs != 0 else ''}".strip()


def _meaning(action: argparse.Action, parser: argparse.ArgumentParser) -> str:
    """As help says it."""
    return parser._get_formatter()._expand_help(action)


def _record(record: type[Record]) -> Iterator[str]:
    """Heading, what it is, and a table of its fields."""
    yield f"### {record.__name__}\n"
    yield f"{str(record.__doc__).splitlines()[0]}\n"
    yield "| field | meaning |"
    yield "|---|---|"
    for name, field in record.model_fields.items():
        yield f"| {_cell(name)} | {_cell(' '.join((field.description or '').split()), code=False)} |"
    yield ""


def _cell(text: str, *, code: bool = True) -> str:
    """Text in a cell of a table, where `|` ends it and words in angle brackets vanish."""
    text = text.replace("|", "\\|")
    return f"`{text}`" if code else re.sub(r"<(\w)", r"&lt;\1", text)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write the reference page.")
    parser.add_argument("--write", type=Path, required=True, metavar="FILE")
    parser.parse_args().write.write_text(page(), encoding="utf-8")
