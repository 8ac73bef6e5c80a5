"""The command `assay`, beside `python flows/….py`: help is there before anything large is imported."""

import difflib
import importlib
import sys
from collections.abc import Callable

from flows.command_line import parsers
from flows.command_line.encodings import writable_in_any_encoding

_COMMANDS: dict[str, tuple[str, str, Callable[[str], parsers.Parser] | None]] = {
    "export": ("turn models into proven ONNX files", "flows.command_line.export", parsers.export_parser),
    "verify": ("prove files that somebody else made", "flows.command_line.verify", parsers.verify_parser),
    "sweep": ("export many models side by side", "flows.command_line.sweep", parsers.sweep_parser),
    "compare": ("tell what changed between two versions", "flows.command_line.compare", parsers.compare_parser),
    "serve": ("export the catalog on a schedule, with Prefect", "deployments.serve", None),
    "notify": ("tell a webhook of failures, with Prefect", "deployments.notify", None),
}
"""What each does, the module whose main does it, and its parser if that can be made without importing the module."""
_SHELLS = ("bash", "zsh")
_LINES = [f"  {name:<12} {what}" for name, (what, *_) in _COMMANDS.items()]
_LINES += ["  completion   print what makes a shell complete all this: bash or zsh"]
_HELP = "\n".join(["usage: assay COMMAND [options]", "", *_LINES, "", "assay COMMAND --help has options and examples."])


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if name in ("-h", "--help"):
        print(_HELP)
        return 0
    if name == "completion":
        return _print_completion(rest[0] if rest else "bash")
    if name not in _COMMANDS:
        close = difflib.get_close_matches(name, _COMMANDS, n=1) or list(_COMMANDS)
        print(f"error: assay has no command {name}; write assay {' or '.join(close)}.", file=sys.stderr)
        return 2
    return run(name, rest, prog=f"assay {name}")


def run(name: str, arguments: list[str] | None = None, *, prog: str | None = None) -> int:
    """Run one of the commands; return the exit status.

    Args:
        name: `export`, `verify`, `sweep`, `compare`, `serve` or `notify`.
        arguments: None: those of this process.
        prog: what help calls it; None: as the file in `flows/`.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    _, module, make_parser = _COMMANDS[name]
    if make_parser and {"-h", "--help"} & set(arguments):
        writable_in_any_encoding(sys.stdout)
        (make_parser(prog) if prog else make_parser()).print_help()  # type: ignore[call-arg]
        return 0
    status: int = importlib.import_module(module).main(arguments)
    return status


def _print_completion(shell: str) -> int:
    """Print the script that makes a shell complete commands, options and names of models."""
    import shtab

    from flows.command_line.completion import completing_parser

    if shell not in _SHELLS:
        print(f"error: there is no completion for {shell}; take {' or '.join(_SHELLS)}.", file=sys.stderr)
        return 2
    print(shtab.complete(completing_parser(), shell))
    return 0
