"""What a user sees of steps and results."""

import io
import logging
import logging.config
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flows.command_line.display import Display, ui_command
from tasks.core.paths import MLFLOW_DATABASE, PROJECT_FOLDER
from tasks.core.progress import Progress
from tasks.core.records.steps import ExportResult, Release
from tasks.core.records.variants import VariantEvidence, VariantTerms

MLFLOW = Path(sys.executable).with_name("mlflow")


@pytest.fixture(autouse=True)
def logger() -> Iterator[logging.Logger]:
    """As it was before a display listened to it."""
    log = logging.getLogger("assay")
    level, propagate = log.level, log.propagate
    yield log
    log.setLevel(level)
    log.propagate = propagate


def result(name: str, verdict: Any = "pass", **fields: Any) -> ExportResult:
    """A result that MLflow holds."""
    release = Release(run_id="abc", run_url="http://ui/run", model_uri=f"models:/{name}/3", version="3")
    return ExportResult(name=name, verdict=verdict, release=release, **fields)


def test_a_step_is_a_line_when_it_ends(capsys: pytest.CaptureFixture[str], logger: logging.Logger) -> None:
    """With its seconds; its start shows on a terminal only, a debug message nowhere, any other message as it is."""
    display = Display(to_stderr=False)
    display.title("net[0]")
    logger.info("export_onnx", extra={"step": "export_onnx"})
    logger.info("export_onnx: 12 nodes", extra={"step": "export_onnx", "seconds": 1.25})
    logger.debug("details")
    logger.info("waits for [memory]")
    display.close()
    logger.info("later")
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["net[0]", "  export_onnx           1.2 s  12 nodes", "  waits for [memory]"]


def test_a_proven_model_says_how_to_load_and_browse_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its version, its notes; one without a run is not in the summary."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ui")
    Display(to_stderr=False).summary([result("net"), ExportResult(name="bad", verdict="error")])
    out = capsys.readouterr().out
    assert "✔ pass  net version 3" in out
    assert 'load     mlflow.pyfunc.load_model("models:/net/3").predict(...)' in out
    assert "browse   http://ui/run" in out
    assert "bad" not in out
    assert "2 models in" in out


def test_a_file_that_is_not_proven_gives_no_way_to_load_it(capsys: pytest.CaptureFixture[str]) -> None:
    """The reason of one that somebody else made; `(not proven)` beside the path of an export."""
    Display(to_stderr=False).summary([
        result("net", "fail", file="other.onnx", reason="logits differ."),
        result("net", "inconclusive", onnx_path="kept.onnx"),
    ])  # fmt: skip
    out = capsys.readouterr().out
    assert "✘ fail  other.onnx" in out
    assert "reason   logits differ." in out
    assert "kept.onnx (not proven)" in out
    assert "load " not in out
    assert "2 files in" in out


def test_of_a_lossy_file_its_loss_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """A quantised file of somebody else never computes what the model computes; an exact one does."""
    evidence = VariantEvidence(
        verdict="pass", reasons=(), claim="loses at most 1%", source="net, proven anew", source_sha256="",
        terms=VariantTerms(kind="int8"),
    )  # fmt: skip
    results = [result("net", file="small.onnx", variant=evidence), result("net", file="exact.onnx")]
    Display(to_stderr=False).summary(results)
    shown = capsys.readouterr().out
    assert "small.onnx loses at most 1%" in shown
    assert "exact.onnx computes what net computes" in shown
    assert shown.count("computes what") == 1


def test_what_is_shown_survives_that_handlers_are_closed(
    capsys: pytest.CaptureFixture[str], logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `logging.config.dictConfig` does, which Prefect calls amid a sweep: neither lines nor a spinner end."""
    monkeypatch.setenv("TTY_COMPATIBLE", "1")  # a terminal, to rich
    display = Display(to_stderr=False)
    display.title("net")
    display.wait("importing")
    logging.config.dictConfig({"version": 1, "disable_existing_loggers": False})
    assert display._status is not None
    logger.info("export_onnx: 12 nodes", extra={"step": "export_onnx", "seconds": 1.25})
    display.close()
    assert "12 nodes" in capsys.readouterr().out


def test_a_long_step_says_how_far_it_is(
    capsys: pytest.CaptureFixture[str], logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside the spinner of a terminal: the step, what is counted, the time left; in a file or pipe, nothing."""
    for is_terminal in (True, False):
        monkeypatch.setenv("TTY_COMPATIBLE", str(int(is_terminal)))
        display = Display(to_stderr=False)
        display.listen()
        logger.debug("validate_onnx …", extra={"step": "validate_onnx"})
        monkeypatch.setattr("tasks.core.progress.time", SimpleNamespace(monotonic=iter(range(0, 100, 10)).__next__))
        progress = Progress("probe {done:.0f} of at most {total:.0f}", 40)
        progress.advance()
        progress.advance()
        if is_terminal:
            assert display._status is not None
            assert display._status.status == "validate_onnx … probe 2 of at most 40, about 380 s left"
        display.close()
        assert ("probe" in capsys.readouterr().out) <= is_terminal


@pytest.mark.parametrize(("encoding", "mark"), [("ascii", "+"), ("cp1252", "+"), ("utf-8", "✔")])
def test_signs_that_an_encoding_lacks_are_written_in_others(
    encoding: str, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Marks, dashes, ellipses, accents, and names that are no text at all."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    display = Display(to_stderr=False)
    display.summary([result("net"), result("résumé\udcff", "fail", file="données.onnx", reason="3 × as far – so far…")])
    stream.flush()
    said = stream.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]
    assert f"{mark} pass  net" in said
    if encoding == "ascii":
        assert "x fail  donnees.onnx" in said
        assert "3 x as far - so far..." in said


@pytest.mark.parametrize(
    "environment",
    [{"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "cp1252"}, {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0"},
     {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}],
    ids=str,
)  # fmt: skip
def test_help_and_errors_need_no_utf_8(environment: dict[str, str]) -> None:
    """A real process: help, and a sentence each about what the terminal can't write; no traceback."""
    program = "from flows.command_line import export, sweep, verify\nfor command in (export, sweep, verify):\n"
    program += "    command.main(['mod\\xe8le\\u2714', 'x', '--opset', '\\u2714'])\nexport.main(['--help'])"
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT_FOLDER, env={**os.environ, **environment}, capture_output=True
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith(b"usage: ")
    lines = ran.stderr.splitlines()
    assert len(lines) == 3, ran.stderr
    assert all(line.startswith(b"error: argument --opset: invalid int value: ") for line in lines)


def test_an_error_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    """One line, whatever is in the sentence."""
    Display(to_stderr=False).error("--input x[bold] is wrong; write it otherwise.")
    assert capsys.readouterr().err == "error: --input x[bold] is wrong; write it otherwise.\n"


@pytest.mark.parametrize(
    ("uri", "command"),
    [
        ("", f"{MLFLOW} ui --backend-store-uri sqlite:///{MLFLOW_DATABASE}, then "),
        (f"sqlite:///{MLFLOW_DATABASE}", f"{MLFLOW} ui --backend-store-uri sqlite:///{MLFLOW_DATABASE}, then "),
        ("sqlite:////tmp/two words.db", f"{MLFLOW} ui --backend-store-uri 'sqlite:////tmp/two words.db', then "),
        ("postgresql://user:secret@host/db", f'{MLFLOW} ui --backend-store-uri "$MLFLOW_TRACKING_URI", then '),
        ("https://tracking", ""),
    ],
)
def test_the_ui_of_the_store_is_named(uri: str, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tracking server has one already; an address that may hold a password is not printed."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert ui_command() == command
    assert MLFLOW.is_file(), "found from any folder, in an environment that is not activated"


def test_the_line_to_load_names_the_store_beside_the_project(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pasted anywhere it finds the model; the time is the clock's, not only the steps'."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    Display(to_stderr=False).summary([result("net")])
    out = capsys.readouterr().out
    (line,) = (line.strip() for line in out.splitlines() if line.strip().startswith("load "))
    code = line.removeprefix("load").strip()
    compile(code, "line", "exec")
    assert code.startswith(f'import mlflow; mlflow.set_tracking_uri("sqlite:///{MLFLOW_DATABASE}"); mlflow.pyfunc')
    assert "1 model in " in out
