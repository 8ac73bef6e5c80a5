"""What the project's texts name exists."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", ".ci/run")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "deployments").glob("*.yaml")),
]
_PATH = re.compile(r"(?<![\w/.<])(?:tasks|flows|deployments|docs|tests|examples)/[\w./-]*\w/?(?![\w<*{])")


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_path_that_a_text_names_exists(text: Path) -> None:
    """Files and folders of the project, as `tasks/core/onnx_files/checks.py`, are where the text says."""
    named = set(_PATH.findall(text.read_text(encoding="utf-8")))
    assert sorted(path for path in named if not (ROOT / path).exists()) == []


def test_the_site_has_every_page() -> None:
    """The navigation of mkdocs.yml names each text of docs/."""
    named = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = [path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")]
    assert [page for page in pages if page not in named] == []


def test_the_reference_is_what_the_code_says(tmp_path: Path) -> None:
    """Of every option and every field; after a change: `python tests/reference_page.py --write docs/reference.md`."""
    made = tmp_path / "reference.md"
    subprocess.run([sys.executable, ROOT / "tests/reference_page.py", "--write", made], check=True)
    assert (ROOT / "docs/reference.md").read_bytes() == made.read_bytes()


def test_the_tutorial_shows_the_class_that_it_exports() -> None:
    """As it stands in the example."""
    shown = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8").partition("```py\n")[2].partition("```")[0]
    assert "class Spiral" in shown
    assert shown in (ROOT / "examples/spiral.py").read_text(encoding="utf-8")


def test_a_path_that_does_not_exist_is_seen() -> None:
    """The pattern finds paths in code, links and prose, and no placeholders."""
    text = "`tasks/core/gone.py`, [x](docs/none.md) and tests/nowhere/. Not tasks/<step>.py nor https://a/docs/b.md"
    assert _PATH.findall(text) == ["tasks/core/gone.py", "docs/none.md", "tests/nowhere/"]
