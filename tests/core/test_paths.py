"""The project's folders are where the code lies, and caches where the environment says."""

from pathlib import Path

import pytest

from tasks.core.paths import CATALOG_FILE, MLRUNS_FOLDER, PROJECT_FOLDER, cache_folder


def test_the_projects_files_are_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths are absolute, and do not depend on the working directory."""
    monkeypatch.chdir(tmp_path)
    assert (PROJECT_FOLDER / "pyproject.toml").is_file()
    assert CATALOG_FILE.is_file()
    assert MLRUNS_FOLDER.parent == PROJECT_FOLDER


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """`ASSAY_CACHE` first, then the XDG folder, then the home folder."""
    monkeypatch.setenv("ASSAY_CACHE", "/a")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert cache_folder() == Path("/a")
    monkeypatch.delenv("ASSAY_CACHE")
    assert cache_folder() == Path("/x/assay")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "assay"
