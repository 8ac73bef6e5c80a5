"""A damaged, foreign or locked database is told in one sentence, and never a page of SQLAlchemy."""

import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import mlflow
import pytest

from tasks.core.errors import ServiceError
from tasks.mlflow_store import database
from tasks.mlflow_store.proven import find_proven

Damage = Callable[[Path], object]


def run(statement: str) -> Damage:
    """A damage done by an SQL statement."""

    def damage(path: Path) -> None:
        with closing(sqlite3.connect(path)) as store:
            store.executescript(statement)

    return damage


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.write_bytes(b"garbage" * 10_000), "it is damaged (file is not a database)"),
        (lambda path: os.truncate(path, path.stat().st_size // 2), "damaged|failed|can't be used"),
        (run("update alembic_version set version_num = '0123456789ab'"), "schema|0123456789ab"),
        (run("drop table alembic_version"), "it is no store of MLflow"),
        (run("drop table registered_models"), "unexpected state"),
    ],
    ids=["garbage", "cut", "schema", "foreign", "tables"],
)
def test_what_is_wrong_with_it_is_one_sentence(
    damage: Damage, words: str, own_store: mlflow.MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With status 3, and what to do."""
    path = tmp_path / "damaged.db"  # whose schema this process has not looked at yet
    shutil.copy(tmp_path / "mlflow.db", path)
    damage(path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{path}")
    mlflow.set_tracking_uri(f"sqlite:///{path}")
    with pytest.raises(ServiceError, match=words.replace("(", r"\(").replace(")", r"\)")) as caught:
        find_proven("digits")
    said = str(caught.value)
    assert len(said) <= 500
    assert "\n" not in said
    assert "[SQL" not in said
    assert caught.value.exit_status == 3


def test_a_lock_is_waited_for_and_then_told(own_store: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process that writes holds one for moments; then it is told who has to end."""
    monkeypatch.setattr(database, "LOCKED_SECONDS", 1.0)  # ten, for users
    path = Path(mlflow.get_tracking_uri().removeprefix("sqlite:///"))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("begin exclusive")
        started = time.monotonic()
        with pytest.raises(ServiceError, match="has kept it locked for 1 s"):
            find_proven("digits")
        assert time.monotonic() - started < database.LOCKED_SECONDS + 5
        other.execute("rollback")
    assert find_proven("digits") is None
