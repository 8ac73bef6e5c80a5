"""SIGTERM and a closed terminal end an export as tidily as Ctrl-C does, whatever it is doing."""

import signal
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults.place import Place


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    """Where all of them export."""
    with tempfile.TemporaryDirectory(prefix="as") as folder:  # short, as a socket's address is
        yield Place(Path(folder, "p"))


@pytest.fixture
def heard() -> Iterator[None]:
    """A closed terminal is told, though the tests run under nohup, whose children are deaf to it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.slow
@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize(
    ("step", "number"),
    [("create_inputs", signal.SIGTERM), ("export_onnx", signal.SIGHUP)],
)
def test_a_signal_ends_it_tidily(step: str, number: signal.Signals, place: Place) -> None:
    """Status 130, one sentence, no traceback; the run is KILLED, and no run, model or folder is left open."""
    process = place.start(int(number))
    assert process.stdout is not None
    while (line := process.stdout.readline()) and not line.strip().startswith(step):
        pass
    process.send_signal(number)
    said, _ = process.communicate(timeout=120)
    assert (process.returncode, "Interrupted; what was finished stays finished." in said) == (130, True), said
    assert "Traceback" not in said
    assert not list((place.folder / "tmp").glob("assay-work-*"))
    with closing(sqlite3.connect(place.folder / "mlflow.db")) as store:
        assert store.execute("select status from runs order by start_time desc").fetchone() == ("KILLED",)
        assert store.execute("select count(*) from runs where status = 'RUNNING'").fetchone() == (0,)
        assert store.execute("select count(*) from logged_models where status = 1").fetchone() == (0,)
