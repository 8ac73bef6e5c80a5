"""What the files in flows/ and deployments/ call: a command, or one sentence where this Python has no Assay."""

import importlib
import sys


def run(name: str) -> int:
    """Run one of the commands; return the exit status.

    Args:
        name: `export`, `verify`, `sweep`, `compare`, `serve` or `notify`.
    """
    try:
        status: int = importlib.import_module("flows.command_line.assay").run(name)
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] in ("flows", "tasks", "deployments"):
            raise
        needed = f"{sys.executable} has no {error.name}, which Assay needs"
        print(f"error: {needed}; use the Python that Assay was installed into, as .venv/bin/python.", file=sys.stderr)
        return 2
    return status
