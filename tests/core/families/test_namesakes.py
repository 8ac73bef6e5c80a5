"""A user's packages called `tasks` and `flows` are the user's in the user's code, and Assay's stay Assay's."""

import importlib
import sys
from pathlib import Path

import pytest

from tasks.core.errors import ModelError, SpecError
from tests.models.python_files import made, write

pytestmark = pytest.mark.usefixtures("imports_as_before")
LAYERS = "from torch import nn\nWIDTH = {}\nclass Layer(nn.Linear): pass\n"
NET = """
    from tasks.layers import WIDTH, Layer
    from . import sizes

    def build():
        import tasks.late as late
        return Layer(WIDTH, sizes.OUT, bias=late.BIAS)
"""


def project(folder: Path, width: int = 3) -> Path:
    """A folder with a package `tasks`, that is used from within and without."""
    (folder / "tasks").mkdir(parents=True)
    (folder / "tasks" / "__init__.py").write_text(f"from tasks.layers import Layer\nNAME = 'tasks of {folder.name}'\n")
    return write(
        folder,
        tasks__layers=LAYERS.format(width),
        tasks__net=NET,
        tasks__sizes="OUT = 2\n",
        tasks__late="BIAS = False\n",
        main="from tasks.net import build\nimport tasks\nprint(tasks.NAME)\n",
        flat="from flows import make\ndef build(): return make()\n",
        flows="import tasks.layers\ndef make(): return tasks.layers.Layer(tasks.layers.WIDTH, 7)\n",
        by_name="import importlib\ndef build(): return importlib.import_module('tasks.net').build()\n",
    )


def shape(module: object) -> tuple[int, int]:
    """Of a linear layer."""
    return module.in_features, module.out_features  # type: ignore[attr-defined]


@pytest.mark.parametrize("source", ["main.py", "tasks/net.py", "flat.py", "by_name.py"])
def test_a_file_imports_the_package_beside_it(source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From beside the package, from within it, through another one, and by importlib."""
    text = "from tasks.layers import WIDTH, Layer\ndef build(): return Layer(WIDTH, 2)\n"
    folder = project(tmp_path / "a")
    if source == "tasks/net.py":
        (folder / source).write_text(text)
    assert shape(made(f"{folder}/{source}:build")) == (3, 7 if source == "flat.py" else 2)
    if source == "main.py":
        assert capsys.readouterr().out == "tasks of a\n"


@pytest.mark.parametrize("model", ["tasks.net:build", "flat:build", "flows:make"])
def test_the_working_directory_has_the_package(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`package.module:Class` is looked for there first, as Python does."""
    monkeypatch.chdir(project(tmp_path / "a"))
    assert made(model)


def test_two_projects_have_packages_of_their_own(tmp_path: Path) -> None:
    """One after the other, and the first one again."""
    folders = [project(tmp_path / "a", width=3), project(tmp_path / "b", width=5)]
    for folder, width in zip([*folders, folders[0]], (3, 5, 3), strict=True):
        assert shape(made(f"{folder}/main.py:build")) == (width, 2)


def test_assays_own_packages_stay(tmp_path: Path) -> None:
    """What Assay imports later is Assay's, and so it is for a file that has no such package beside it."""
    before = sys.modules["tasks"]
    made(f"{project(tmp_path / 'a')}/main.py:build")
    assert sys.modules["tasks"] is before
    sys.modules.pop("tasks.core.reports.pages", None)
    assert "reports" in str(importlib.import_module("tasks.core.reports.pages").__file__)
    plain = write(tmp_path / "b", net="import tasks.core\nfrom torch import nn\ndef build(): return nn.ReLU()\n")
    assert made(f"{plain}/net.py:build")


def test_what_the_users_package_lacks_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the user's own words."""
    folder = write(tmp_path, tasks__net="import tasks.nothing\n", main="import tasks.none\n")
    with pytest.raises(ModelError, match=r"Loading main.py raised ModuleNotFoundError: No module named 'tasks\.none'"):
        made(f"{folder}/main.py:build")
    monkeypatch.chdir(folder)
    with pytest.raises(ModelError, match=r"Importing tasks\.net needs the module tasks\.nothing"):
        made("tasks.net:build")
    with pytest.raises(SpecError, match=r"No module named tasks\.nothing"):
        made("tasks.nothing:build")
