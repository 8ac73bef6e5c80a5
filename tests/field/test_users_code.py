"""A user's own code is the user's: packages called as Assay's are, and files called as its scripts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.core.paths import PROJECT_FOLDER
from tests.models.python_files import made, write

FILES = {
    "tasks__net": """
        from argparse import ArgumentParser
        from torch import nn
        from tasks.layers import WIDTH

        parser = ArgumentParser()
        parser.add_argument("--hidden", type=int, default=5)

        def build():
            import export
            return nn.Linear(WIDTH, parser.parse_args().hidden + export.MORE)
    """,
    "tasks__layers": "WIDTH = 4\n",
    "export": "MORE = 1\n",
}


@pytest.mark.usefixtures("imports_as_before")
@pytest.mark.parametrize("model", ["tasks.net:build", "tasks/net.py:build"])
def test_the_users_packages_are_imported(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By either form of MODEL, from the folder that has the package."""
    monkeypatch.chdir(write(tmp_path, **FILES))
    monkeypatch.syspath_prepend(tmp_path)
    assert made(model).out_features == 6


@pytest.mark.slow
@pytest.mark.parametrize("model", ["tasks.net:build", "tasks/net.py:build"])
def test_a_command_imports_the_users_packages(model: str, tmp_path: Path) -> None:
    """Though PYTHONPATH has them before Assay's; that the weights are not there is seen after that."""
    command = [sys.executable, f"{PROJECT_FOLDER}/flows/export.py", model, "--weights", "none.pth"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"}
    folder = write(tmp_path, **FILES)
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert ran.returncode == 2
    assert "none.pth" in ran.stderr
    assert "Traceback" not in ran.stderr
