"""Each command and each snippet of README and docs is run, here or where `ELSEWHERE` says."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
ELSEWHERE = {
    "python3 -m venv": ".ci/run",
    ".venv/bin/pip install": ".ci/run",
    ".venv/bin/pytest": ".ci/run",
    "prefect server start": "tests/deployments/test_deployments.py",
    "export PREFECT_API_URL": "tests/deployments/test_deployments.py",
    "prefect work-pool create": "tests/deployments/test_deployments.py",
    "prefect worker start": "tests/deployments/test_deployments.py",
    "prefect --no-prompt deploy": "tests/deployments/test_deployments.py",
    "python deployments/serve.py": "tests/deployments/test_deployments.py",
    "python deployments/notify.py": "tests/flows/test_news.py",
    "dask scheduler": "tests/flows/test_sweep_dask.py",
    "dask worker": "tests/flows/test_sweep_dask.py",
    "python flows/export.py hf:ORG/NAME": "tests/flows/test_hub.py",
    "python flows/export.py timm:convnextv2_atto": "tests/core/families/test_hub_models.py",
    "mlflow models serve": "tests/mlflow_store/test_runs.py",
    "MLFLOW_TRACKING_URI=http://HOST:5000 python flows/sweep.py --dask": "tests/flows/test_sweep_dask.py",
    "export MLFLOW_S3_ENDPOINT_URL": "tests/flows/test_remote_store.py",
    "mlflow server --backend-store-uri postgresql": "tests/flows/test_remote_store.py",
    "MLFLOW_TRACKING_URI=http://HOST:5000 python flows/export.py digits": "tests/flows/test_remote_store.py",
}
"""Commands that need a server, another machine or a new environment, by how they begin; and what runs them."""
DOWNLOADS = re.compile(r"resnet50\b|flows/sweep.py$")
"""Commands whose models' weights would be fetched: they are drawn at random here."""
_BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"\s+# .*$", re.MULTILINE)


def commands_of(block: str) -> list[str]:
    """The commands of a block, each on one line, without comments."""
    joined = _COMMENT.sub("", block).replace("\\\n", " ")
    return [command for line in joined.splitlines() for command in re.split("; | && ", line) if command.strip()]


def runs_elsewhere(command: str) -> str:
    """The test that runs a command; empty: this one."""
    return next((place for start, place in ELSEWHERE.items() if command.startswith(start)), "")


def blocks(text: Path) -> list[tuple[str, str]]:
    """Language and content of each block of a text."""
    return [(match[1], match[2]) for match in _BLOCK.finditer(text.read_text(encoding="utf-8"))]


def test_what_runs_elsewhere_is_there() -> None:
    """Each entry is the start of some command, and its test exists."""
    shell = [block for text in TEXTS for kind, block in blocks(text) if kind == "sh"]
    written = [command for block in shell for command in commands_of(block)]
    for start, place in ELSEWHERE.items():
        assert any(command.startswith(start) for command in written), start
        assert (ROOT / place).is_file()


def test_comments_and_long_lines_are_read() -> None:
    """A command is one line, whatever its block looks like."""
    assert commands_of("a --b  # c\nd \\\n    'e#f'; g && h\n") == ["a --b", "d      'e#f'", "g", "h"]


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("text", [t for t in TEXTS if blocks(t)], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_command_runs_as_it_is_written(
    text: Path, tmp_path: Path, own_store: object, prefect_server: str
) -> None:
    """In their order, in a folder that looks like the project's; each ends with status 0."""
    for name in ("flows", "tasks", "deployments", "pyproject.toml"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path}
    run = 0
    for kind, block in blocks(text):
        if kind == "python":
            calls = [[sys.executable, "-c", block]]
        else:
            here = [c for c in commands_of(block) if not runs_elsewhere(c) and not c.startswith(". ")]
            calls = [["bash", "-euc", f"{c} --weights random" if _fetches(c) else c] for c in here]
        for call in calls:
            ran = subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True)
            assert ran.returncode == 0, f"{call[-1]}\n{ran.stdout[-2000:]}\n{ran.stderr[-3000:]}"
            run += 1
    assert run or all(runs_elsewhere(c) for kind, block in blocks(text) if kind == "sh" for c in commands_of(block))


def _fetches(command: str) -> bool:
    return DOWNLOADS.search(command) is not None and "--weights" not in command
