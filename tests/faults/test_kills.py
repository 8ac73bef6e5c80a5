"""A short version of the bench of kills."""

import tempfile
from pathlib import Path

import pytest

from tests.faults.kills import bench
from tests.faults.place import Place


@pytest.mark.slow
def test_a_killed_export_leaves_nothing_wrong() -> None:
    """After the next export: no half version, no wrong alias, nothing left open, no folder, no process."""
    with tempfile.TemporaryDirectory(prefix="ak") as folder:  # short, as a socket's address is
        counted = bench(Place(Path(folder, "p")), 1, (2, 0))
    (found,) = counted.values()
    assert found.pop("kills") == 2
    assert not +found
