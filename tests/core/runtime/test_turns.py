"""Who would do the same waits for its turn."""

import logging
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tasks.core.paths import PROJECT_FOLDER
from tasks.core.runtime.turns import turn

_HOLD = """
import sys
from tasks.core.runtime.turns import turn
with turn("net", "net"):
    print("has it", flush=True)
    sys.stdin.read()
"""


def test_a_turn_is_waited_for_even_if_its_process_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, assay_log: list[logging.LogRecord]
) -> None:
    """Another key is another turn."""
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path))
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD], cwd=PROJECT_FOLDER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "has it\n"
        with turn("other", "other"):
            assert not assay_log
        threading.Timer(0.3, process.kill).start()
        with turn("net", "net"):
            assert process.wait(10) == -9
    assert "another process is at net" in assay_log[0].getMessage()


def test_without_a_cache_nobody_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A place that can't be written to stops no export."""
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "file"))
    with turn("net", "net"):
        pass
