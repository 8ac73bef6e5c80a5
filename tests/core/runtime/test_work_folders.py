"""Folders for work, and what becomes of those of a process that was killed."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tasks.core.paths import PROJECT_FOLDER
from tasks.core.runtime.owners import is_alive, is_of_this_machine, owner
from tasks.core.runtime.work_folders import sweep_work_folders, temporary_files_in, work_folder

_HOLD = """
import sys, tempfile
from tasks.core.runtime.owners import owner
from tasks.core.runtime.work_folders import work_folder
tempfile.tempdir = sys.argv[1]
with work_folder() as folder:
    (folder / "half").write_text("written")
    print(folder, owner(), flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary folder of this test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_those_of_the_killed_are_swept_and_of_the_living_are_not(scratch: Path) -> None:
    """By whoever starts next; a process knows its own, that of another one, and one that is gone."""
    (scratch / "assay-memory-0").mkdir()
    with work_folder() as own, subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(scratch)], cwd=PROJECT_FOLDER,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        name, who = process.stdout.readline().split(" ", 1)
        sweep_work_folders()
        assert Path(name, "half").is_file()
        assert is_of_this_machine(who.strip())
        assert is_alive(who.strip())
        process.kill()
        process.wait()
        assert not is_alive(who.strip())
        sweep_work_folders()
        assert sorted(scratch.iterdir()) == sorted([own, scratch / "assay-memory-0"])
    assert not own.exists()


def test_an_owner_is_no_other_process_of_the_same_number() -> None:
    """Nor is one of another machine, or of this one before it was restarted, taken for one of here."""
    host, boot, namespace, pid, start = owner().split("/")
    assert is_alive(owner())
    assert not is_alive("/".join((host, boot, namespace, pid, "1")))
    assert not is_of_this_machine("/".join((host, "another", namespace, pid, start)))
    assert not is_of_this_machine("/".join(("other", boot, namespace, pid, start)))


def test_libraries_put_their_files_there(scratch: Path) -> None:
    """For as long as it is asked for."""
    with work_folder() as folder, temporary_files_in(folder):
        assert Path(tempfile.mkdtemp()).parent == folder
    assert Path(tempfile.mkdtemp()).parent == scratch
