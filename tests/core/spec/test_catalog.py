"""The catalog is read exactly, from anywhere, and a wrong one is refused in one sentence."""

import functools
import shutil
from pathlib import Path

import pytest

from tasks.core.errors import SpecError
from tasks.core.paths import CATALOG_FILE, PROJECT_FOLDER
from tasks.core.spec import catalog
from tasks.core.spec.catalog import read_catalog
from tasks.core.spec.export_spec import ExportSpec
from tasks.core.spec.resolve import check, resolve


def test_no_catalog_is_an_empty_one(tmp_path: Path) -> None:
    """A project without a catalog still exports torchvision's models; an empty file is no error either."""
    assert read_catalog(tmp_path / "none.yaml") == {}
    (tmp_path / "empty.yaml").write_text("# nothing yet\n")
    assert read_catalog(tmp_path / "empty.yaml") == {}


def test_the_catalog_lies_in_the_project(tmp_path: Path) -> None:
    """The catalog's place is the project's, and a copy of it reads the same."""
    assert CATALOG_FILE.is_relative_to(PROJECT_FOLDER)
    shutil.copy(CATALOG_FILE, tmp_path / "copy.yaml")
    assert read_catalog(tmp_path / "copy.yaml") == read_catalog()


def test_the_shipped_catalog_resolves() -> None:
    """Every entry of the project's own catalog is a right spec whose files and names exist."""
    entries = read_catalog()
    assert "digits" in entries
    for name in entries:
        spec = resolve(ExportSpec(model=name))
        assert spec.name == name
        check(spec)


def test_the_shipped_catalog_works_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The catalog's paths are relative to the project, not to the working directory."""
    monkeypatch.chdir(tmp_path)
    spec = resolve(ExportSpec(model="digits"))
    assert Path(spec.model.rpartition(":")[0]).is_file()
    assert Path(spec.weights).is_file()
    assert spec.sample is not None
    assert spec.sample.is_absolute()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [unclosed", "is not YAML"),
        ("- a\n- b\n", "must map each name"),
        ("a: alexnet\n", "must map each name"),
        ("a:\n", "must map each name"),
        ("just text", "must map each name"),
        ("a: {model: alexnet, colour: red}", "colour: "),
        ("a: {model: alexnet, inputs: x}", "can't be read"),
        ("a: {model: alexnet, opset: 99}", "Opset 99"),
    ],
)
def test_a_wrong_catalog_is_one_sentence(
    text: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A catalog that is no YAML, or holds wrong entries, is refused with what is wrong."""
    (tmp_path / "catalog.yaml").write_text(text)
    monkeypatch.setattr(catalog, "read_catalog", functools.partial(read_catalog, tmp_path / "catalog.yaml"))
    with pytest.raises(SpecError, match=words) as caught:
        resolve(ExportSpec(model="a"))
    assert "\n" not in str(caught.value)
