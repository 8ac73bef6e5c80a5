"""A short version of the bench of kills."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.faults import kills
from tests.faults.kills import AFTER, RANDOM, bench
from tests.faults.place import Place
from tests.faults.table import read_counts


def test_it_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    """What was counted is counted on; what was not begun starts at none."""
    (tmp_path / "counts.json").write_text('{"at random moments": {"kills": 55, "wrong aliases": 0}}')
    wanted = {"at random moments": 60, "right after log_export": 20}
    counted = read_counts(tmp_path / "counts.json", wanted)
    assert [counted[kind]["kills"] for kind in wanted] == [55, 0]
    assert read_counts(tmp_path / "none.json", wanted)["at random moments"]["kills"] == 0


@pytest.mark.slow
def test_a_killed_export_leaves_nothing_wrong() -> None:
    """After the next export: no half version, no wrong alias, nothing left open, no folder, no process."""
    counted = read_counts(None, [RANDOM])
    with tempfile.TemporaryDirectory(prefix="ak") as folder:  # short, as a socket's address is
        for _ in bench(Place(Path(folder, "p")), 1, ({RANDOM: 1}, counted)):
            pass
    assert counted[RANDOM].pop("kills") == 1
    assert not +counted[RANDOM]


@pytest.mark.slow
def test_nor_does_one_that_is_killed_between_steps(tmp_path: Path) -> None:
    """One; the bench takes its process over."""
    command = [sys.executable, kills.__file__, "--random=0", "--boundaries=1", "--minutes=0"]
    subprocess.run([*command, f"--counts={tmp_path}/counts.json"], check=True, timeout=500)
    counted = read_counts(tmp_path / "counts.json", [f"{AFTER}fetch_weights"])
    assert counted[f"{AFTER}fetch_weights"].pop("kills") == 1
    assert not +counted[f"{AFTER}fetch_weights"]
