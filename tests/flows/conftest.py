"""Command lines called in this process: what PyTorch, Prefect and the fork server cost is paid once a session."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.flows.in_process import Ran


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """A function that calls a command line's main with `--json`, in the test's own folder or another one."""

    def run(main: Callable[[list[str]], int], *arguments: str, cwd: Path = tmp_path) -> Ran:
        monkeypatch.chdir(cwd)
        status = main([*arguments, "--json", "out.json"])
        printed = capsys.readouterr()
        return Ran(status, json.loads((cwd / "out.json").read_text())["results"], (printed.out, printed.err))

    return run
