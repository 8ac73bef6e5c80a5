"""What every command line does around its work: JSON on every exit, one sentence an error, the exit status."""

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.command_line.display import Display
from flows.command_line.parsers import STATUSES, Parser, add_output_options
from flows.command_line.run import run_command
from flows.outcomes import failed
from tasks.core.errors import AssayError, CrashError, ModelError, ServiceError, SpecError
from tasks.core.paths import PROJECT_FOLDER
from tasks.core.records.steps import ErrorRecord, ExportResult

Body = Callable[[argparse.Namespace, list[ExportResult], Display], None]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a command sets in its process is of the test alone."""
    handler = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        patch.setattr(os, "environ", os.environ.copy())
        yield
    signal.signal(signal.SIGTERM, handler)


def run(body: Body, *arguments: str) -> int:
    """A command with nothing but the options that all have."""
    parser = Parser()
    add_output_options(parser)
    return run_command(parser, body, list(arguments), display_class=Display)


def giving(*found: ExportResult) -> Body:
    """A body that finds these results."""
    return lambda _options, results, _display: results.extend(found)


def raising(error: BaseException, *found: ExportResult) -> Body:
    """A body that finds these results, and then raises."""

    def body(_options: argparse.Namespace, results: list[ExportResult], _display: Display) -> None:
        results.extend(found)
        raise error

    return body


def result(verdict: Any) -> ExportResult:
    """A result without an error."""
    return ExportResult(name="net", verdict=verdict)


@pytest.mark.parametrize(
    ("found", "status"),
    [
        ([result("pass")], 0),
        ([result("pass"), result("fail")], 1),
        ([result("inconclusive")], 1),
        ([failed("net", CrashError("It died."))], 1),
        ([failed("net", ModelError("It is wrong.")), result("fail")], 2),
        ([failed("net", ServiceError("It is dead.")), failed("net", SpecError("It is wrong.")), result("pass")], 3),
        ([ExportResult(name="net", verdict="error", error=ErrorRecord(type="OfAnotherProcess", message=""))], 1),
        ([], 2),
    ],
)
def test_the_exit_status_is_the_worst(found: list[ExportResult], status: int, tmp_path: Path) -> None:
    """Of several results: 3 over 2 over 1 over 0; each is in the JSON."""
    assert run(giving(*found), "--json", str(tmp_path / "out.json")) == status
    assert len(json.loads((tmp_path / "out.json").read_text())["results"]) == len(found)


def test_the_help_says_what_the_statuses_are() -> None:
    """As the classes of errors have them."""
    assert (
        STATUSES == "Exit status: 0 proven or unchanged, 1 not proven, 2 bad input, 3 a service could not be reached."
    )


@pytest.mark.parametrize(("error", "status"), [(SpecError("Write it so."), 2), (ServiceError("Start it."), 3)])
def test_an_error_is_a_sentence_and_a_result(
    error: AssayError, status: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Beside the results that were found before."""
    assert run(raising(error, result("pass")), "--json", str(tmp_path / "out.json")) == status
    assert capsys.readouterr().err == f"error: {error}\n"
    (first, last) = json.loads((tmp_path / "out.json").read_text())["results"]
    assert (first["verdict"], last["error"]["message"]) == ("pass", str(error))


def test_options_that_cannot_be_parsed_are_an_error_with_json(tmp_path: Path) -> None:
    """The JSON's name is found all the same."""
    for arguments in (["--frobnicate", f"--json={tmp_path}/out.json"], ["--json", f"{tmp_path}/out.json", "--no"]):
        assert run(giving(), *arguments) == 2
        assert "unrecognized arguments" in (tmp_path / "out.json").read_text()
        (tmp_path / "out.json").unlink()


def test_an_interruption_keeps_what_is_finished(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 130, a sentence, the JSON."""
    assert run(raising(KeyboardInterrupt(), result("pass")), "--json", str(tmp_path / "out.json")) == 130
    assert "what was finished stays finished" in capsys.readouterr().err
    assert len(json.loads((tmp_path / "out.json").read_text())["results"]) == 1


def test_sigterm_ends_it_as_ctrl_c_does() -> None:
    """Tidily."""
    assert run(lambda *_: signal.raise_signal(signal.SIGTERM)) == 130


@pytest.mark.parametrize("name", ["folder", "missing/file/below.json", "/proc/out.json"])
def test_json_that_cannot_be_written_is_said_before_the_work(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence, status 2, nothing begun."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "missing").write_text("a file")
    assert run(raising(AssertionError("begun")), "--json", str(tmp_path / name)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "can't be written" in line


def test_json_that_can_no_longer_be_written_is_no_success(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The folder was there when the work began."""
    folder = tmp_path / "gone"
    folder.mkdir()

    def body(_options: argparse.Namespace, results: list[ExportResult], _display: Display) -> None:
        results.append(result("pass"))
        folder.rmdir()

    assert run(body, "--json", str(folder / "out.json")) == 2
    assert "can't be written" in capsys.readouterr().err


def test_standard_output_is_for_the_json_alone() -> None:
    """With `--json -` what the body prints, C code included, goes to standard error."""
    program = (
        "import os\nfrom tests.flows.command_line.test_run import *\n"
        "def body(_options, results, _display):\n    print('chatter')\n    os.write(1, b'more')\n"
        "    results.append(result('pass'))\nraise SystemExit(run(body, '--json', '-'))"
    )
    process = subprocess.run([sys.executable, "-c", program], cwd=PROJECT_FOLDER, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert len(json.loads(process.stdout)["results"]) == 1
    assert "chatter" in process.stderr
    assert "more" in process.stderr
